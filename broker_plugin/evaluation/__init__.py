"""Classifications against the truth: records and stamps written by replay, metrics, and the HTML report."""
