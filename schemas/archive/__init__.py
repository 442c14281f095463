"""Archives of alert packets, read as a stream: files, folders, tars, many-record containers, Kafka dumps."""
