"""Public data sets used in tutorials: URLs, hashes, terms. Each hash is from the third party named beside it."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.errors import InputError


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server: its size (None: not published) and the SHA-256 it must have."""

    url: str
    sha256: str
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class PublicDataset:
    """A data set to fetch.

    Attributes:
        name: Name on the command line.
        about: One-line description.
        terms: The licence that its authors state, if any.
        source: URL of its documentation.
        files: The downloads.
        inside: The folder in an archive that contains the data set, with a trailing ``/``; None if the files are not
            archives.
        left_out: Names in that folder that are not unpacked.
        class_names: Written to ``classes.txt`` where the files have no class names.
    """

    name: str
    about: str
    terms: str
    source: str
    files: tuple[RemoteFile, ...]
    inside: str | None = None
    left_out: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

DATASETS = {
    one.name: one
    for one in (
        PublicDataset(
            name="flowers",
            about="3,670 photos of 5 flowers (TensorFlow's flower_photos)",
            terms="CC BY 2.0; LICENSE.txt in it names the photographers",
            source="https://www.tensorflow.org/datasets/catalog/tf_flowers",
            files=(
                # Size and SHA-256: TensorFlow Datasets, url_checksums/tf_flowers.txt.
                RemoteFile(
                    "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
                    "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
                    228_813_984,
                ),
            ),
            inside="flower_photos/",
        ),
        PublicDataset(
            name="stl10",
            about="13,000 labelled pictures of 10 classes, 96 x 96 (the 100,000 without labels are not unpacked)",
            terms="no licence is stated; the pictures are from ImageNet",
            source="https://cs.stanford.edu/~acoates/stl10/",
            files=(
                # Size and SHA-256: TensorFlow Datasets, url_checksums/stl10.txt.
                RemoteFile(
                    "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                    "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
                    2_640_397_119,
                ),
            ),
            inside="stl10_binary/",
            left_out=("unlabeled_X.bin",),
        ),
        PublicDataset(
            name="fashion_mnist",
            about="70,000 grey pictures of 10 kinds of clothes, 28 x 28 (Zalando Research)",
            terms="MIT",
            source="https://github.com/zalandoresearch/fashion-mnist",
            files=(
                # Sizes and SHA-256: TensorFlow Datasets, url_checksums/fashion_mnist.txt.
                RemoteFile(
                    f"{_FASHION}/train-images-idx3-ubyte.gz",
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    26_421_880,
                ),
                RemoteFile(
                    f"{_FASHION}/train-labels-idx1-ubyte.gz",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    29_515,
                ),
                RemoteFile(
                    f"{_FASHION}/t10k-images-idx3-ubyte.gz",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    4_422_102,
                ),
                RemoteFile(
                    f"{_FASHION}/t10k-labels-idx1-ubyte.gz",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    5_148,
                ),
            ),
            # The table "Labels" in its README.
            class_names=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
        ),
        PublicDataset(
            name="cats_vs_dogs",
            about="25,000 photos of cats and dogs, some of them damaged (Microsoft Research, Petfinder)",
            terms="CDLA-Permissive-2.0, as the file in the archive says",
            source="https://www.microsoft.com/en-us/download/details.aspx?id=54765",
            files=(
                # SHA-256: GoMLX, examples/dogsvscats/dogsvscats.go. Microsoft publishes none, and TensorFlow Datasets'
                # is that of an earlier archive.
                RemoteFile(
                    "https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/"
                    "kagglecatsanddogs_5340.zip",
                    "b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
                ),
            ),
            inside="PetImages/",
        ),
    )
}


def public_dataset(name: str) -> PublicDataset:
    """Return a data set by name.

    Raises:
        InputError: There is none; the error lists them.
    """
    if name not in DATASETS:
        raise InputError(f"no data set {name!r} to fetch", hint=f"There are {', '.join(DATASETS)}.")
    return DATASETS[name]
