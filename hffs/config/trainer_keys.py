"""Keys of a SimpleTuner dataloader file that only the trainer reads.

Owns their names, and what else such a file holds beside data sets to mount. hffs accepts these
keys and does nothing with them. The names come from SimpleTuner's documentation (DATALOADER.md,
HUGGINGFACE_DATASETS.md, the quickstarts, the examples), from what its `helpers/data_backend` reads
and what its web interface writes, as of August 2026: https://github.com/bghira/SimpleTuner
"""

from __future__ import annotations

STORAGE_TYPES = frozenset({"local", "aws", "csv", "memory", "webshart"})
"""Types of entries whose data is no data set of Hugging Face."""

SIDE_TYPES = frozenset(
    [
        "conditioning",
        "eval",
        "text_embeds",
        "image_embeds",
        "conditioning_image_embeds",
        "distillation_cache",
        "caption",
        "grounding",
    ]
)
"""Dataset types of entries that hold no samples to train on directly."""

_ENTRY = """
    audio auth_token auto_generated auto_load bucket_report bucket_resolutions compress_cache
    config_version default default_extension disable disabled disable_after_epoch_step
    disable_multiline_split disable_validation end_epoch end_step file_extension grounding
    grounding_data hash_filenames ignore_epochs is_regularisation_data is_regularization_data
    sample_size scan_for_errors shorten_filenames shuffle skip_file_discovery
    slider_strength start_epoch start_step timestep_sampling_offset
"""
_CAPTIONS = """
    bbox_column caption_dropout_probability caption_filter_list caption_shuffle caption_strategy
    instance_prompt lyrics_extension lyrics_filename_format lyrics_suffix only_instance_prompt
    prepend_instance_prompt
"""
_IMAGES = """
    delete_nsfw_images delete_problematic_images delete_unwanted_images
    image_processing_batch_size max_duration_seconds min_duration_seconds
    split_composite_images composite_image_column
"""
_CACHES = """
    cache_dir_conditioning_image_embeds cache_dir_text cache_dir_vae cache_file_suffix
    clear_cache_each_epoch conditioning_image_embed_batch_size metadata_backend
    metadata_cache_dir metadata_update_interval preserve_data_backend_cache read_batch_size
    text_cache_disable text_cache_ondemand text_encoder_batch_size vae_batch_size
    vae_cache_clear_each_epoch vae_cache_disable vae_cache_ondemand vae_cache_scan_behaviour
    write_batch_size
"""
_OTHER_ENTRIES = """
    caption_data conditioning conditioning_config conditioning_data conditioning_image_embeds
    conditioning_type data_backend distillation_cache distillation_type image_embeds
    instance_data_root s2v_datasets source_dataset_id source_from_video text_embed_cache
    text_embeds
"""
_STORAGE = """
    aws_access_key_id aws_bucket_name aws_data_prefix aws_endpoint_url aws_max_pool_connections
    aws_region_name aws_secret_access_key aws_session_token csv csv_cache_dir csv_caption_column
    csv_file csv_hash_filenames csv_shorten_filenames csv_url_column hf_token max_workers
    memory_filesystem_path memory_filesystem_size memory_filesystem_sudo metadata parquet source
    subfolder webshart webshart_optimise_captions webshart_optimize_captions
"""
_SOUNDS = """
    audio_audio_only audio_bucket_interval audio_bucket_strategy audio_channels
    audio_channels_column audio_duration_column audio_duration_interval
    audio_duration_interval_seconds audio_max_duration_seconds audio_min_duration_seconds
    audio_num_samples_column audio_only audio_sample_rate audio_sample_rate_column
    audio_truncation_mode channels sample_rate target_resolution truncation_mode
"""

_VIDEO = "bucket_strategy fps frame_interval frame_rate is_i2v"

ENTRY_KEYS = frozenset(
    " ".join(
        (_ENTRY, _CAPTIONS, _IMAGES, _CACHES, _OTHER_ENTRIES, _STORAGE, _SOUNDS, _VIDEO)
    ).split()
)
"""Keys at the top of an entry, or in its `huggingface` or `config` block."""

BLOCK_KEYS = {
    "filter_func": frozenset[str](),
    "composite_image_config": frozenset[str](),
    "video": frozenset(_VIDEO.split()),
}
"""Keys in the blocks that hffs reads too."""
