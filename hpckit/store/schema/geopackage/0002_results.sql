-- An observation is the result of one unit of a plan, and says what it was made from: sync compares that with the plan.
-- A reduction belongs to a campaign. What was loaded before this version says nothing of it, and is loaded again.

ALTER TABLE observation ADD COLUMN unit TEXT NOT NULL DEFAULT '';
ALTER TABLE observation ADD COLUMN inputs TEXT NOT NULL DEFAULT '';
ALTER TABLE observation ADD COLUMN segment TEXT NOT NULL DEFAULT '';
ALTER TABLE observation ADD COLUMN layout TEXT NOT NULL DEFAULT '[]';
CREATE UNIQUE INDEX observation_unit ON observation (reduction, unit) WHERE unit <> '';

ALTER TABLE hpckit_reduction ADD COLUMN campaign TEXT NOT NULL DEFAULT '';
ALTER TABLE hpckit_reduction ADD COLUMN run_id TEXT NOT NULL DEFAULT '';
ALTER TABLE hpckit_reduction ADD COLUMN place TEXT NOT NULL DEFAULT '';
UPDATE hpckit_reduction SET
    campaign = COALESCE((SELECT o.campaign FROM observation o WHERE o.reduction = hpckit_reduction.id ORDER BY o.id DESC LIMIT 1), ''),
    run_id = COALESCE((SELECT o.run_id FROM observation o WHERE o.reduction = hpckit_reduction.id ORDER BY o.id DESC LIMIT 1), '');

DROP TABLE hpckit_ledger;
CREATE VIEW hpckit_ledger AS
SELECT MIN(id) AS OGC_FID, segment AS spool_id, campaign, run_id, reduction, COUNT(*) AS units
  FROM observation WHERE segment <> '' GROUP BY segment, campaign, run_id, reduction;
