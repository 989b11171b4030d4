"""Mutants of the way from photos to models: data, training, quantization, conversion."""

from __future__ import annotations

from mutant import Mutant

_DATA, _TRAINING = "tests/edgetl/data/", "tests/edgetl/training/"
_QUANTIZATION, _EXPORT = "tests/edgetl/quantization/", "tests/edgetl/export/"

MUTANTS = (
    Mutant(
        "a temperature is used that chance explains",
        "edgetl/runs/temperature.py",
        "    if probability > _LEVEL:\n",
        "    if probability > 1:\n",
        ("tests/edgetl/runs/test_temperature.py::test_a_temperature_that_few_photos_do_not_tell_from_1_is_not_used",),
    ),
    Mutant(
        "a temperature at the end of its range is used",
        "edgetl/runs/temperature.py",
        "for bound in _INVERSE) < _AT_BOUND:",
        "for bound in _INVERSE) < 0:",
        ("tests/edgetl/runs/test_temperature.py::test_a_temperature_at_the_end_of_its_range_is_not_used",),
    ),
    Mutant(
        "the split depends on the file name, not on the pixels",
        "edgetl/data/split.py",
        "to_cut[photo.label][group] = position(group, seed)",
        "to_cut[photo.label][group] = position(photo.path, seed)",
        (_DATA + "test_dataset.py::test_a_renamed_or_re_encoded_photo_does_not_move",),
    ),
    Mutant(
        "the seed does not change the split",
        "edgetl/data/split.py",
        'f"{seed}:{group}".encode()',
        'f"0:{group}".encode()',
        (_DATA + "test_dataset.py::test_the_seed_changes_the_split_and_nothing_else",),
    ),
    Mutant(
        "copies of a photo stay in training and in test",
        "edgetl/data/audit.py",
        "        same_place = by_folder[stays]\n        kept.append(same_place[0])",
        "        same_place = by_folder[stays]\n        kept.extend(one[0] for one in by_folder.values())",
        (_DATA + "test_dataset.py::test_a_photo_in_training_and_evaluation_is_dropped_from_training",),
    ),
    Mutant(
        "of copies the one in training is kept, not the one in test",
        "edgetl/data/audit.py",
        'for folder in ("test", "val", "train", None) if folder in by_folder',
        'for folder in ("train", "val", "test", None) if folder in by_folder',
        (_DATA + "test_dataset.py::test_a_photo_in_training_and_evaluation_is_dropped_from_training",),
    ),
    Mutant(
        "a photo under two labels is kept under one of them",
        "edgetl/data/audit.py",
        "            conflicts.append(copies)\n            continue",
        "            conflicts.append(copies)",
        (_DATA + "test_dataset.py::test_a_photo_under_two_labels_is_an_error_until_decided",),
    ),
    Mutant(
        "the same pixels in another format are another photo",
        "edgetl/data/pixels.py",
        'digest = hashlib.sha256(f"{width} x {height}\\n".encode())',
        'digest = hashlib.sha256(f"{width} x {height} {header.format}\\n".encode())',
        (_DATA + "test_pixels.py::test_one_digest_for_one_picture_in_two_formats_and_at_any_size",),
    ),
    Mutant(
        "the key of decoded pixels forgets the preprocessing",
        "edgetl/data/pixels.py",
        "        spec=spec.to_json(),\n",
        "        spec=spec.size,\n",
        (_DATA + "test_pixels.py::test_the_key_follows_files_spec_and_pillow",),
    ),
    Mutant(
        "a photo that changed after it was hashed is decoded",
        "edgetl/data/pixels.py",
        "    if sha256_bytes(data) != sha256:\n",
        "    if not sha256_bytes(data):\n",
        (_DATA + "test_pixels.py::test_a_file_that_changes_after_hashing_is_an_error_and_leaves_nothing",),
    ),
    Mutant(
        "rows of decoded pixels are one off",
        "edgetl/data/pixels.py",
        "file.write(index, pixels)",
        "file.write((index + 1) % len(hashes), pixels)",
        (_DATA + "test_pixels.py::test_pixels_are_those_of_preprocess",),
    ),
    Mutant(
        "a photo that changed after it was read is copied",
        "edgetl/data/split_folders.py",
        "    if sha256_file(target) != sha256:\n",
        "    if not sha256:\n",
        ("tests/edgetl/cli/test_cli_data.py::test_a_photo_that_changes_after_it_was_read_is_not_written",),
    ),
    Mutant(
        "cached activations are found by their number of photos",
        "edgetl/features/frozen_base.py",
        "    key = key_of(frozen=frozen.key, pixels=pixels.key)\n    total",
        "    key = key_of(frozen=frozen.key, pixels=len(pixels.array))\n    total",
        (
            "tests/edgetl/features/test_frozen_base.py::"
            "test_activations_are_found_again_only_for_the_same_photos_views_and_base",
        ),
    ),
    Mutant(
        "the key of a frozen base forgets its weights",
        "edgetl/features/frozen_base.py",
        "        digest.update(np.ascontiguousarray(array).data)",
        "        digest.update(str(array.shape).encode())",
        ("tests/edgetl/features/test_frozen_base.py::test_the_base_has_another_key_for_other_weights_and_another_cut",),
    ),
    Mutant(
        "a frozen block is trained, too",
        "edgetl/training/network.py",
        "return all_blocks[-trainable_blocks - 1].last_layer",
        "return all_blocks[-trainable_blocks - 2].last_layer",
        (_TRAINING + "test_train.py::test_blocks_before_the_cut_are_bit_identical_and_those_after_it_moved",),
    ),
    Mutant(
        "BatchNorm learns from a few photos",
        "edgetl/training/network.py",
        "(is_norm and not train_batch_norm)",
        "(is_norm and train_batch_norm is None)",
        (_TRAINING + "test_train.py::test_all_blocks_are_trained_but_not_batch_norm",),
    ),
    Mutant(
        "the epoch with the highest loss is kept",
        "edgetl/training/tail.py",
        "return losses.index(min(losses)) if losses else len(rows) - 1",
        "return losses.index(max(losses)) if losses else len(rows) - 1",
        (_TRAINING + "test_train.py::test_an_epoch_that_is_not_clearly_worse_is_kept",),
    ),
    Mutant(
        "a loss of NaN is trained on",
        "edgetl/training/tail.py",
        "if loss is not None and not math.isfinite(loss)]",
        "if loss is not None and loss < 0]",
        (_TRAINING + "test_stages.py::test_training_that_diverges_says_so_and_what_to_do",),
    ),
    Mutant(
        "the penalty of the head is the one with the highest loss",
        "edgetl/training/head.py",
        "best = rows[losses.index(min(losses))].l2",
        "best = rows[losses.index(max(losses))].l2",
        (_TRAINING + "test_stages.py::test_the_penalty_of_the_head_is_the_one_with_the_lowest_validation_loss",),
    ),
    Mutant(
        "a resumed run draws its photos anew",
        "edgetl/training/tail.py",
        "    random.bit_generator.state = saved.random\n",
        "",
        (_TRAINING + "test_resume.py::test_killed_again_and_again_it_ends_in_the_same_run",),
    ),
    Mutant(
        "the input scaling is that of another backbone",
        "edgetl/backbones/graph.py",
        "layers.Rescaling(scale.factor[0], scale.offset[0], name=SCALE_LAYER)(pixels)",
        "layers.Rescaling(scale.factor[0], 0.0, name=SCALE_LAYER)(pixels)",
        (
            "tests/edgetl/backbones/test_backbones.py::"
            "test_the_scaling_in_the_graph_is_what_the_weights_were_trained_with",
        ),
    ),
    Mutant(
        "a weights file may change after it was recorded",
        "edgetl/backbones/arrays.py",
        "if sha256_bytes(data) != weights.sha256:",
        "if not sha256_bytes(data):",
        ("tests/edgetl/backbones/test_backbone_weights.py::test_a_file_that_changes_after_it_was_recorded_is_refused",),
    ),
    Mutant(
        "layers that a weights file lacks keep random weights without a word",
        "edgetl/backbones/arrays.py",
        '    if matching.of("missing"):\n        _report_partial',
        '    if matching.of("missing") and whole:\n        _report_partial',
        (
            "tests/edgetl/backbones/test_backbone_weights.py::"
            "test_a_file_that_ends_early_leaves_the_rest_random_and_says_so",
        ),
    ),
    Mutant(
        "embedded weights are not checked",
        "edgetl/backbones/weights.py",
        "if not path.is_file() or sha256_file(path) != card.sha256:",
        "if not path.is_file():",
        ("tests/edgetl/backbones/test_embedded_weights.py::test_a_damaged_or_missing_file_is_refused",),
    ),
    Mutant(
        "calibration takes photos of every split",
        "edgetl/quantization/calibration_photos.py",
        'training = [sample for sample in samples if sample.split == "train"]',
        "training = list(samples)",
        (_QUANTIZATION + "test_int8.py::test_calibration_is_balanced_and_from_training_only",),
    ),
    Mutant(
        "calibration takes test photos, and its last check with them",
        "edgetl/quantization/calibration_photos.py",
        'if sample.split == "train"]\n    if not training:',
        'if sample.split == "test"]\n    if not training:',
        (
            _QUANTIZATION
            + "test_quantize_pipeline.py::test_held_out_photos_are_the_test_split_and_calibration_is_training",
        ),
    ),
    Mutant(
        "the user's calibration photos may be those of the test",
        "edgetl/quantization/own_photos.py",
        "    _refuse_held_out(run, folder, photos)\n",
        "",
        (_QUANTIZATION + "test_calibration_photos.py::test_a_photo_that_is_scored_is_refused",),
    ),
    Mutant(
        "a test photo is found among calibration photos by its file only",
        "edgetl/quantization/own_photos.py",
        "by_file.get(photo.sha256) or by_pixels.get(photo.group)",
        "by_file.get(photo.sha256)",
        (_QUANTIZATION + "test_calibration_photos.py::test_a_photo_that_is_scored_is_refused",),
    ),
    Mutant(
        "calibration photos do not reach 0 and 255",
        "edgetl/quantization/conversion/tflite.py",
        "        batch[0, 0, 0], batch[0, -1, -1] = 0, 255\n",
        "",
        (_QUANTIZATION + "test_int8.py::test_tflite_is_integer_throughout",),
    ),
    Mutant(
        "a float operator stays in an int8 file",
        "edgetl/quantization/conversion/tflite.py",
        "            if tensor.dtype not in allowed:",
        '            if tensor.dtype not in (*allowed, "float32"):',
        (_QUANTIZATION + "test_int8.py::test_the_checks_refuse_float_files",),
    ),
    Mutant(
        "one scale for all channels of a convolution",
        "edgetl/quantization/conversion/tflite.py",
        "    if len(weights.scales) != channels or (channels > 1 and weights.axis != axis):",
        "    if len(weights.scales) > channels:",
        (_QUANTIZATION + "test_int8.py::test_the_checks_refuse_float_files",),
    ),
    Mutant(
        "a float product stays in an int8 ONNX graph",
        "edgetl/quantization/conversion/onnx.py",
        'if name not in makers or makers[name].op_type != "DequantizeLinear":',
        "if name not in makers:",
        (_QUANTIZATION + "test_int8.py::test_the_check_refuses_one_float_product",),
    ),
    Mutant(
        "BatchNorm is folded without its shift",
        "edgetl/quantization/preparation/folding.py",
        "return factor, beta - mean * factor",
        "return factor, beta",
        (_QUANTIZATION + "test_folding.py::test_each_kind_of_layer_folds",),
    ),
    Mutant(
        "biases are not corrected",
        "edgetl/quantization/preparation/bias_correction.py",
        "weights[operation.name] = grid, before + shift.numpy()",
        "weights[operation.name] = grid, before",
        (_QUANTIZATION + "test_bias_correction.py::test_the_mean_of_each_output_is_the_float_one",),
    ),
    Mutant(
        "the drop of a candidate is not held against its bound",
        "edgetl/quantization/candidates.py",
        "drop_fits = options.max_drop is None or agreement.drop_pp <= options.max_drop",
        "drop_fits = True",
        (_QUANTIZATION + "test_candidates.py::test_impossible_bounds_leave_the_bundle_and_say_where_the_figures_are",),
    ),
    Mutant(
        "a float export that differs from the model is bundled",
        "edgetl/quantization/pipeline.py",
        'if one.variant.precision == "float32" and difference > FLOAT_TOLERANCE:',
        'if one.variant.precision == "float32" and difference > 1:',
        (_QUANTIZATION + "test_quantize_pipeline.py::test_a_float_export_that_differs_is_refused",),
    ),
    Mutant(
        "an operation that ONNX lacks is written all the same",
        "edgetl/export/conversion.py",
        '    if unknown:\n        raise _unmapped("ONNX", unknown)\n',
        "",
        (_EXPORT + "test_float_conversion.py::test_an_operation_without_counterpart_is_named",),
    ),
    Mutant(
        "an operation that TFLite lacks becomes a custom one",
        "edgetl/export/conversion.py",
        "converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]",
        "converter.allow_custom_ops = True",
        (_EXPORT + "test_float_conversion.py::test_an_operation_without_counterpart_is_named",),
    ),
)
