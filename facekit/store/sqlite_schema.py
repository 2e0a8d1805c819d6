"""The tables of a SQLite store: documents, and beside them the columns they are found by."""

APPLICATION = 0x66616365
"""The mark of our files, "face"."""
SCHEMA = """
CREATE TABLE datasets (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, folder BLOB NOT NULL,
  journal TEXT NOT NULL, position INTEGER NOT NULL
);
CREATE TABLE images (
  dataset INTEGER NOT NULL REFERENCES datasets, photo BLOB NOT NULL, folder BLOB NOT NULL,
  faces INTEGER NOT NULL, digest TEXT NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (dataset, photo)
);
CREATE INDEX images_by_faces ON images (dataset, faces DESC, photo);
CREATE INDEX images_by_folder ON images (dataset, folder, faces);
CREATE TABLE annotations (
  dataset INTEGER NOT NULL REFERENCES datasets, photo BLOB NOT NULL, number INTEGER NOT NULL,
  category TEXT NOT NULL, score REAL NOT NULL, turn REAL, document TEXT NOT NULL,
  PRIMARY KEY (dataset, photo, number)
);
CREATE INDEX annotations_by_score ON annotations (dataset, score DESC, photo, number);
CREATE INDEX annotations_by_turn ON annotations (dataset, turn DESC, photo, number)
  WHERE turn IS NOT NULL;
CREATE INDEX annotations_by_category
  ON annotations (dataset, category, score DESC, photo, number);
CREATE TABLE categories (
  dataset INTEGER NOT NULL REFERENCES datasets, name TEXT NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (dataset, name)
);
"""
"""Paths are blobs, which SQLite compares by their bytes; a turn is an angle from upright."""
