"""Objects on an S3-compatible store, and its inbox."""
