"""What label tools export, built from their public specifications, as it is and as it should not be."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawing import draw_photo
from small import edgetl, refused

from edgetl.data import list_photos, load_dataset, photos_folder
from edgetl.data.readers import exports, listed
from edgetl_device.errors import EdgetlError, InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

LABELS = ("ant", "bee")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a photo called as its number; even ones are ants, odd ones bees."""
    folder = tmp_path / "export"
    folder.mkdir()
    for number in range(6):
        draw_photo(number).save(folder / f"{number}.jpg")
    return folder


def write(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def write_csv(file: Path, *rows: tuple[object, ...]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return file


def label_of(path: str) -> str:
    return LABELS[int(Path(path).stem[-1]) % 2]


def splits(data: Path) -> dict[str, str | None]:
    """Return the split of each photo, and check its label."""
    scan = list_photos(data)
    assert {file.path: file.label for file in scan.files} == {file.path: label_of(file.path) for file in scan.files}
    for file in scan.files:
        assert (scan.folder / file.path).is_file()
    assert photos_folder(data) == scan.folder
    return {file.path: file.folder for file in scan.files}


def moved(folder: Path, split: str, *numbers: int) -> Path:
    (folder / split).mkdir(exist_ok=True)
    for number in numbers:
        shutil.move(folder / f"{number}.jpg", folder / split / f"{number}.jpg")
    return folder / split


# Label Studio


def studio_task(number: int, image: str, *choices: str) -> dict[str, Any]:
    result = {
        "from_name": "choice",
        "to_name": "image",
        "id": f"r{number}",
        "type": "choices",
        "value": {"choices": list(choices)},
    }
    annotation = {"id": number, "result": [result], "was_cancelled": False, "lead_time": 4.2, "completed_by": 1}
    return {"id": number, "data": {"image": image}, "annotations": [annotation], "predictions": [], "project": 1}


@pytest.mark.parametrize(
    "address",
    [
        "{}.jpg",
        "/data/upload/3/{}.jpg",
        "/data/upload/3/0a1b2c3d-{}.jpg",
        "/data/local-files/?d=export/{}.jpg",
        "https://example.com/photos/{}.jpg",
        "s3://bucket/photos/{}.jpg",
    ],
)
def test_label_studio_json(photos: Path, address: str) -> None:
    tasks = [studio_task(number, address.format(number), LABELS[number % 2]) for number in range(6)]
    file = write(photos / "project-1.json", tasks)
    assert splits(file) == {f"{number}.jpg": None for number in range(6)}


def test_label_studio_json_with_skipped_unlabelled_and_repeated_annotations(photos: Path) -> None:
    tasks = [studio_task(number, f"/data/upload/1/{number}.jpg", LABELS[number % 2]) for number in range(6)]
    tasks[0]["annotations"] *= 2
    tasks[1]["annotations"].append(
        {"was_cancelled": True, "result": studio_task(1, "x", "ant")["annotations"][0]["result"]}
    )
    tasks[2]["annotations"] = []
    scan = list_photos(write(photos / "a.json", tasks))
    assert {file.path for file in scan.files} == {f"{number}.jpg" for number in (0, 1, 3, 4, 5)}
    assert scan.ignored == ("/data/upload/1/2.jpg",)


def test_label_studio_json_min_and_csv(photos: Path) -> None:
    own = {"annotator": 1, "annotation_id": 9, "created_at": "2024-01-01", "updated_at": "2024-01-01", "lead_time": 2.5}
    rows = [
        {"image": f"/data/upload/1/{number}.jpg", "id": number, "choice": LABELS[number % 2], **own}
        for number in range(6)
    ]
    expected = {f"{number}.jpg": None for number in range(6)}
    assert splits(write(photos / "min.json", rows)) == expected
    table = write_csv(photos / "project.csv", tuple(rows[0]), *(tuple(row.values()) for row in rows))
    assert splits(table) == expected


@pytest.mark.parametrize("form", ["json", "csv"])
def test_label_studio_labels_are_of_one_column_in_all_rows(photos: Path, form: str) -> None:
    own = {"annotator": 1, "annotation_id": 9}

    def listed_of(*rows: dict[str, Any]) -> Any:
        if form == "json":
            return list_photos(write(photos / "min.json", rows))
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = (names, *([row.get(name, "") for name in names] for row in rows))
        return list_photos(write_csv(photos / "a.csv", *map(tuple, table)))

    first = {"image": "0.jpg", "site": "north", "choice": "ant", **own}
    scan = listed_of(first, {"image": "1.jpg", "site": "north", **own})
    assert [(file.path, file.label) for file in scan.files] == [("0.jpg", "ant")]
    assert scan.ignored == ("1.jpg",)
    renamed = {"image": "0.jpg", "animal": "ant", **own}
    assert [file.label for file in listed_of(renamed).files] == ["ant"]
    with pytest.raises(InputError, match="in one of site, animal"):
        listed_of({"image": "0.jpg", "site": "north", "animal": "ant", **own})
    with pytest.raises(InputError, match="in no column"):
        listed_of({"image": "0.jpg", **own})


def test_photos_of_a_server_are_looked_for_in_the_folder_only(photos: Path) -> None:
    draw_photo(0).save(photos.parent / "secret.jpg")
    for address in ("a/b/../../secret.jpg", "x/../../secret.jpg", "/data/upload/../../secret.jpg"):
        with pytest.raises(InputError, match="is outside"):
            list_photos(write(photos / "a.json", [studio_task(0, address, "ant")]))
    # Two photos of one name, of which there is one.
    tasks = [studio_task(number, f"s3://b/{folder}/1.jpg", "ant") for number, folder in enumerate(("cats", "kittens"))]
    with pytest.raises(InputError, match=r"both found as 1\.jpg"):
        list_photos(write(photos / "a.json", tasks))


def test_an_export_says_what_it_leaves_out(photos: Path) -> None:
    (photos / "train").mkdir()
    (photos / "test" / "ant").mkdir(parents=True)
    shutil.move(photos / "0.jpg", photos / "train")
    shutil.copy(photos / "2.jpg", photos / "test" / "ant")
    write_csv(photos / "train" / "_classes.csv", ("filename", "ant"), ("0.jpg", "1"))
    with pytest.raises(InputError, match="test: has no file of labels"):
        list_photos(photos)
    shutil.rmtree(photos / "test")
    scan = list_photos(photos)
    assert [file.path for file in scan.files] == ["train/0.jpg"]
    assert scan.ignored == tuple(f"{number}.jpg" for number in range(1, 6))


def test_an_absolute_path_below_a_link_is_inside(photos: Path) -> None:
    link = photos.parent / "link"
    link.symlink_to(photos)
    document = coco(range(6), str(link / "{}.jpg"))
    assert len(list_photos(write(link / "a.json", document)).files) == 6


def test_a_csv_of_ones_own_is_none_of_them(photos: Path) -> None:
    rows = [(f"{number}.jpg", LABELS[number % 2]) for number in range(6)]
    assert len(splits(write_csv(photos / "own.csv", ("path", "label"), *rows))) == 6


def test_a_table_of_ones_own_may_be_separated_and_encoded_as_it_likes(photos: Path) -> None:
    rows = "".join(f"{number}.jpg;{LABELS[number % 2]};red, green\n" for number in range(6))
    assert len(splits(write(photos / "own.csv", f"path;label;colours\n{rows}"))) == 6


# Roboflow


def test_roboflow_folders_and_multiclass_csv(photos: Path) -> None:
    for split, numbers in (("train", (0, 1)), ("valid", (2, 3)), ("test", (4, 5))):
        folder = moved(photos, split, *numbers)
        rows = [(f"{number}.jpg", f" {1 - number % 2}", f" {number % 2}") for number in numbers]
        write_csv(folder / "_classes.csv", ("filename", " ant", " bee"), *rows)
    write(photos / "README.roboflow.txt", "Exported")
    assert splits(photos) == {
        "train/0.jpg": "train", "train/1.jpg": "train", "valid/2.jpg": "val",
        "valid/3.jpg": "val", "test/4.jpg": "test", "test/5.jpg": "test",
    }  # fmt: skip
    assert len(splits(photos / "train" / "_classes.csv")) == 2
    for name in ("train", "valid", "test"):
        (photos / name / "_classes.csv").unlink()
        for path in (photos / name).iterdir():
            (photos / name / label_of(path.name)).mkdir(exist_ok=True)
            path.rename(photos / name / label_of(path.name) / path.name)
    assert set(splits(photos).values()) == {"train", "val", "test"}


# Edge Impulse


def impulse(path: str, category: str = "split", **changes: Any) -> dict[str, Any]:
    label = {"type": "label", "label": label_of(path)}
    return {"path": path, "name": Path(path).stem, "category": category, "label": label, "metadata": {}} | changes


def test_edge_impulse_info_labels(photos: Path) -> None:
    moved(photos, "training", 0, 1, 2)
    moved(photos, "testing", 3, 4)
    files = [impulse(f"training/{number}.jpg", "training") for number in (0, 1)]
    files += [impulse("training/2.jpg", "split"), impulse("5.jpg", "testing", label={"type": "unlabeled"})]
    boxes = [{"label": "bee", "x": 1, "y": 1, "width": 9, "height": 9}] * 2
    files += [impulse("testing/3.jpg", "testing", label=None, boundingBoxes=boxes), impulse("testing/4.jpg", "testing")]
    file = write(photos / "info.labels", {"version": 1, "files": files})
    expected = {
        "training/0.jpg": "train", "training/1.jpg": "train", "training/2.jpg": None,
        "testing/3.jpg": "test", "testing/4.jpg": "test",
    }  # fmt: skip
    assert splits(file) == splits(photos) == expected
    assert list_photos(photos).ignored == ("5.jpg",)


def test_edge_impulse_in_its_folders(photos: Path) -> None:
    for name, numbers in (("training", (0, 1, 2)), ("testing", (3, 4, 5))):
        folder = moved(photos, name, *numbers)
        files = [impulse(f"{number}.jpg", name) for number in numbers]
        write(folder / "info.labels", {"version": 1, "files": files})
    assert set(splits(photos).values()) == {"train", "test"}


# COCO


def coco(numbers: range | tuple[int, ...], path: str = "{}.jpg") -> dict[str, Any]:
    return {
        "images": [{"id": n, "file_name": path.format(n), "width": 64, "height": 48} for n in numbers],
        "annotations": [{"id": n, "image_id": n, "category_id": n % 2, "bbox": [0, 0, 9, 9]} for n in numbers],
        "categories": [{"id": index, "name": label, "supercategory": "none"} for index, label in enumerate(LABELS)],
    }


def test_coco_with_one_category_an_image(photos: Path) -> None:
    document = coco(range(6))
    document["annotations"].append({"id": 99, "image_id": 0, "category_id": 0})
    assert splits(write(photos / "instances.json", document)) == {f"{number}.jpg": None for number in range(6)}
    for name, numbers in (("train", (0, 1, 2, 3)), ("valid", (4, 5))):
        write(moved(photos, name, *numbers) / "_annotations.coco.json", coco(numbers))
    assert set(splits(photos).values()) == {"train", "val"}


# Hugging Face


def test_hugging_face_metadata(photos: Path) -> None:
    rows = [(f"{number}.jpg", LABELS[number % 2], "a caption") for number in range(6)]
    write_csv(photos / "metadata.csv", ("file_name", "label", "text"), *rows)
    assert splits(photos) == {f"{number}.jpg": None for number in range(6)}
    (photos / "metadata.csv").unlink()
    moved(photos, "train", 0, 1, 2)
    lines = [{"file_name": f"{number}.jpg", "label": LABELS[number % 2]} for number in range(3)]
    write(photos / "train" / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    moved(photos, "test", 3, 4, 5)
    lines = [{"file_name": f"test/{number}.jpg", "label": LABELS[number % 2]} for number in range(3, 6)]
    write(photos / "metadata.jsonl", "\n".join(map(json.dumps, lines)))
    assert {path: split for path, split in splits(photos).items() if split == "test"} == {
        f"test/{number}.jpg": "test" for number in (3, 4, 5)
    }


def test_metadata_without_labels_leaves_them_to_the_folders(photos: Path) -> None:
    for label in LABELS:
        (photos / label).mkdir()
    for number in range(6):
        (photos / f"{number}.jpg").rename(photos / LABELS[number % 2] / f"{number}.jpg")
    write_csv(photos / "metadata.csv", ("file_name", "text"), ("ant/0.jpg", "an ant"))
    assert len(splits(photos)) == 6


# Zips


def zipped(file: Path, *members: tuple[Path, str]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path, name in members:
            archive.write(path, name)
    return file


def test_a_zip_of_class_folders_and_of_an_export(photos: Path, tmp_path: Path) -> None:
    members = [(photos / f"{number}.jpg", f"{LABELS[number % 2]}/{number}.jpg") for number in range(6)]
    junk = write(tmp_path / "junk", "x")
    archive = zipped(tmp_path / "all.zip", *members, (junk, "__MACOSX/ant/._0.jpg"), (junk, "ant/.DS_Store"))
    assert set(splits(archive)) == {name for _, name in members}
    file = write(photos / "info.labels", {"version": 1, "files": [impulse(f"{n}.jpg", "training") for n in range(6)]})
    members = [(photos / f"{number}.jpg", f"{number}.jpg") for number in range(6)]
    assert set(splits(zipped(tmp_path / "ei.zip", *members, (file, "info.labels"))).values()) == {"train"}


def test_teachable_machine_has_a_zip_for_each_class(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for index, name in enumerate(("ant-samples.zip", "bee-samples (1).zip")):
        numbers = range(index, 6, 2)
        zipped(folder / name, *((photos / f"{number}.jpg", f"{number}.jpg") for number in numbers))
    assert set(splits(folder)) == {f"{LABELS[number % 2]}/{number}.jpg" for number in range(6)}
    with pytest.raises(InputError, match="no class folders") as caught:
        list_photos(folder / "ant-samples.zip")
    assert "ant-samples.zip" in str(caught.value)
    assert "put them into one folder" in str(caught.value)


def test_names_of_zips_lead_nowhere_else(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in (" ..-samples.zip", "cat-samples.zip"):
        zipped(folder / name, (photos / "0.jpg", "0.jpg"))
    scan = list_photos(folder)
    assert {file.path for file in scan.files} == {"_../0.jpg", "cat/0.jpg"}
    entries = [path for path in scan.folder.parent.parent.iterdir() if not path.name.startswith(".")]
    assert all((path / "entry.json").is_file() for path in entries)
    # Beside other files they are just zips.
    (folder / "x_train.npy").write_bytes(b"")
    with pytest.raises(InputError):
        list_photos(folder)


def test_a_zip_cannot_write_the_records_of_the_cache(photos: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "entry", {"mine": 1})
    archive = zipped(
        tmp_path / "a.zip",
        (file, "entry.json"),
        *((photos / f"{number}.jpg", f"{LABELS[number % 2]}/{number}.jpg") for number in range(6)),
    )
    folder = list_photos(archive).folder
    assert json.loads((folder / "entry.json").read_text()) == {"mine": 1}
    assert "mine" not in json.loads((folder.parent / "entry.json").read_text())


def members(*names: str, size: int = 1) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, bytes(size))

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda file: file.write_bytes(b"no zip"), "is not a zip"),
        (members("../ant/0.jpg"), "leads outside"),
        (members("/ant/0.jpg"), "leads outside"),
        (members("notes.txt"), "holds no photos"),
        (members("a/0.jpg", "./a//0.jpg"), "is in it twice"),
        (members("a/0.jpg", "a/0.jpg/1.jpg"), "another member has this name"),
        (members(f"a/{300 * 'x'}.jpg"), "the name is too long"),
    ],
)
def test_zips_that_are_refused(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    make(tmp_path / "a.zip")
    with pytest.raises(InputError, match=said) as caught:
        list_photos(tmp_path / "a.zip")
    assert "a.zip" in caught.value.what


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetl.data.readers.archives._SUSPICIOUS_BYTES", 1 << 20)
    file = tmp_path / "a.zip"
    members("ant/0.jpg", size=4 << 20)(file)
    with pytest.raises(InputError, match="would unpack to"):
        list_photos(file)
    # The directory may say that it hardly shrank.
    data = file.read_bytes()
    at = data.rindex(b"PK\1\2") + 20
    file.write_bytes(data[:at] + (4 << 20).to_bytes(4, "little") + data[at + 4 :])
    assert zipfile.ZipFile(file).infolist()[0].compress_size == 4 << 20
    with pytest.raises(InputError, match="would unpack to"):
        list_photos(file)


# What is refused, with the file, the place and what to do


def studio(*tasks: Any) -> Any:
    return "a.json", list(tasks)


def hf(*rows: Any) -> Any:
    return "metadata.jsonl", "\n".join(json.dumps(row) for row in rows)


BAD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "a photo that is missing": (
        studio(studio_task(1, "0.jpg", "ant"), studio_task(2, "x.jpg", "ant")),
        ("task 2", "x.jpg"),
    ),
    "two labels in one annotation": (studio(studio_task(1, "0.jpg", "ant", "bee")), ("task 1", "2 labels: ant, bee")),
    "two annotators who differ": (
        studio(studio_task(1, "0.jpg", "ant"), studio_task(2, "0.jpg", "bee")),
        ("task 2", "ant in task 1"),
    ),
    "a task without data": (studio({"data": None, "annotations": []}), ("task 1", "data is not valid")),
    "a task that is no object": (studio(studio_task(1, "0.jpg", "ant"), 7), ("task 2 is not an object",)),
    "annotations that are none": (
        studio({"data": {"image": "0.jpg"}, "annotations": None}),
        ("annotations is not valid",),
    ),
    "a label that is a number with a point": (studio(studio_task(1, "0.jpg", 1.5)), ("task 1", "not text")),
    "a label of two lines": (studio(studio_task(1, "0.jpg", "a\nb")), ("task 1", "cannot be a label")),
    "half a surrogate": (studio(studio_task(1, "0.jpg", "a\ud800")), ("task 1", "cannot be a label")),
    "no label at all": (studio({"data": {"image": "0.jpg"}, "annotations": []}), ("labels no photo",)),
    "a path outside": (hf({"file_name": "../../etc/passwd.jpg", "label": "ant"}), ("line 1", "is outside")),
    "an absolute path outside": (hf({"file_name": "/etc/passwd", "label": "ant"}), ("line 1", "is outside")),
    "a path with a zero": (hf({"file_name": "a\0.jpg", "label": "ant"}), ("line 1", "is missing")),
    "a name of 5,000 letters": (hf({"file_name": "a" * 5000, "label": "ant"}), ("line 1", "is missing")),
    "a line that is no object": (hf({"file_name": "0.jpg", "label": "ant"}, [1]), ("line 2", "file_name is no object")),
    "a line that is cut": (
        ("metadata.jsonl", '{"file_name": "0.jpg", "label": "ant"}\n{"file_name'),
        ("line 2", "is not JSON"),
    ),
    "a line without its photo": (
        hf({"file_name": "0.jpg", "label": "ant"}, {"label": "x"}),
        ("line 2", "file_name is missing"),
    ),
    "a document nested deeply": (("a.json", "[" * 100_000), ("is not JSON",)),
    "a document that is null": (("a.json", "null"), ("in no format of labels",)),
    "an empty document": (("a.json", ""), ("is not JSON",)),
    "no text": (("info.labels", b"\xff\xfe\x00"), ("is not UTF-8",)),
    "files that are none": (("info.labels", {"version": 1, "files": {}}), ("files is not valid",)),
    "several labels over time": (
        ("info.labels", {"version": 1, "files": [impulse("0.jpg", label={"type": "multi-label", "labels": []})]}),
        ("file 1", "not of the type label"),
    ),
    "boxes of two classes": (
        (
            "info.labels",
            {"version": 1, "files": [impulse("0.jpg", label=None, boundingBoxes=[{"label": "ant"}, {"label": "bee"}])]},
        ),
        ("file 1", "2 labels"),
    ),
    "boxes of several categories": (
        (
            "a.json",
            coco(range(2)) | {"annotations": [{"image_id": 0, "category_id": 0}, {"image_id": 0, "category_id": 1}]},
        ),
        ("image 1", "0.jpg has 2 labels: ant, bee"),
    ),
    "an unknown category": (
        ("a.json", coco(range(2)) | {"annotations": [{"image_id": 0, "category_id": 9}]}),
        ("annotation 1", "no category 9"),
    ),
    "an id that is a list": (
        ("a.json", coco(range(1)) | {"images": [{"id": [], "file_name": "0.jpg"}]}),
        ("image 1", "id is not valid"),
    ),
    "two images of one id": (
        ("a.json", coco(range(1)) | {"images": [{"id": 0, "file_name": "0.jpg"}, {"id": 0, "file_name": "1.jpg"}]}),
        ("image 2", "the id of another"),
    ),
    "a short row": (("_classes.csv", "filename,ant,bee\n0.jpg,1\n"), ("line 2 has 2 fields, not 3",)),
    "a mark that is neither": (("_classes.csv", "filename,ant,bee\n0.jpg,1,yes\n"), ("line 2", "neither 0 nor 1")),
    "two marks": (("_classes.csv", "filename,ant,bee\n0.jpg,1,1\n"), ("line 2", "2 labels")),
    "the same photo twice": (("_classes.csv", "filename,ant,bee\n0.jpg,1,0\n0.jpg,0,1\n"), ("line 3", "ant in line 2")),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_refused(what: str, photos: Path) -> None:
    (name, content), said = BAD[what]
    if isinstance(content, bytes):
        (photos / name).write_bytes(content)
    else:
        write(photos / name, content)
    with pytest.raises(EdgetlError) as caught:
        list_photos(photos / name)
    assert isinstance(caught.value, InputError)
    assert name in caught.value.what
    assert caught.value.hint or "known are" in caught.value.why
    for part in said:
        assert part in str(caught.value)


def test_the_size_of_a_file_of_labels_is_bounded(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(photos / "a.json", [studio_task(1, "0.jpg", "ant")])
    monkeypatch.setattr(listed, "MAX_LABEL_BYTES", 64)
    with pytest.raises(InputError, match="is larger than"):
        list_photos(file)


def test_an_absolute_path_inside_is_followed(photos: Path) -> None:
    write(photos / "metadata.jsonl", json.dumps({"file_name": str(photos / "0.jpg"), "label": "ant"}))
    assert splits(photos) == {"0.jpg": None}


def test_data_check_reads_an_export_and_ends_with_2_where_it_is_wrong(photos: Path) -> None:
    file = write(photos / "info.labels", {"version": 1, "files": [impulse(f"{number}.jpg") for number in range(6)]})
    done = edgetl("data", "check", photos, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == ["ant", "bee"]
    write(file, {"version": 1, "files": [impulse("9.jpg")]})
    said = refused(edgetl("data", "check", file))
    assert "file 1: 9.jpg is missing" in said


def test_the_split_of_the_export_is_used(photos: Path) -> None:
    files = [impulse(f"{number}.jpg", "testing" if number > 3 else "training") for number in range(6)]
    write(photos / "info.labels", {"version": 1, "files": files})
    dataset = load_dataset(photos, Preprocess(size=square(32)), val=0)
    assert {one.path for one in dataset.of("test")} == {"4.jpg", "5.jpg"}
    assert {one.path for one in dataset.of("train")} == {f"{number}.jpg" for number in range(4)}


def test_every_format_is_known_by_one_row() -> None:
    assert len({one.name for one in exports.EXPORTS}) == len(exports.EXPORTS)
