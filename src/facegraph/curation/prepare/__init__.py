"""From a publisher's files to a prepared store: unpacking, reading the annotations, writing, reporting."""
