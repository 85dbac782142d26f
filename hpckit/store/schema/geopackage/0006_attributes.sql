-- Attributes of zones are columns of zones_<reduction>: their names and types (JSON), and a digest of their values.
-- The views of reductions are made again after this script.

ALTER TABLE hpckit_reduction ADD COLUMN attributes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE hpckit_reduction ADD COLUMN attributes_digest TEXT NOT NULL DEFAULT '';
