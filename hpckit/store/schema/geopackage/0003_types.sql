-- Columns of a view have the types of its first SELECT, where these are columns of tables (and, since SQLite 3.41, where
-- no other SELECT may give text): OGR reads all else as text.
-- The views of reductions are made again after this script.

DROP VIEW hpckit_ledger;
CREATE VIEW hpckit_ledger AS
SELECT id AS OGC_FID, segment AS spool_id, campaign, run_id, reduction, id AS units FROM observation WHERE 0
UNION ALL
SELECT CAST(MIN(id) AS INTEGER), segment, campaign, run_id, reduction, CAST(COUNT(*) AS INTEGER)
  FROM observation WHERE segment <> '' GROUP BY segment, campaign, run_id, reduction;
