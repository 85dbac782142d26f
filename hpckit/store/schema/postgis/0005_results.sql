-- An observation is the result of one unit of a plan, and says what it was made from: sync compares that with the plan.
-- A reduction belongs to a campaign. What was loaded before this version says nothing of it, and is loaded again.

ALTER TABLE observation
    ADD COLUMN unit text NOT NULL DEFAULT '',
    ADD COLUMN inputs text NOT NULL DEFAULT '',
    ADD COLUMN segment text NOT NULL DEFAULT '';
CREATE UNIQUE INDEX observation_unit ON observation (reduction, unit) WHERE unit <> '';
COMMENT ON TABLE observation IS 'Where records come from: a unit of a plan, which is an acquisition by tile';
COMMENT ON COLUMN observation.unit IS 'Unit of the plan of the campaign';
COMMENT ON COLUMN observation.inputs IS 'Digest of all that the records were made from';
COMMENT ON COLUMN observation.segment IS 'Identifier of the spool file that they were loaded from';
COMMENT ON COLUMN observation.baseline_rank IS 'Order of baselines';

ALTER TABLE reduction
    ADD COLUMN campaign text NOT NULL DEFAULT '',
    ADD COLUMN run_id text NOT NULL DEFAULT '',
    ADD COLUMN place text NOT NULL DEFAULT '';
COMMENT ON COLUMN reduction.campaign IS 'Campaign that it belongs to';
COMMENT ON COLUMN reduction.run_id IS 'Run of it that was loaded last';
COMMENT ON COLUMN reduction.place IS 'Host and path of its campaign file';
UPDATE reduction p SET campaign = o.campaign, run_id = o.run_id
  FROM (SELECT DISTINCT ON (reduction) reduction, campaign, run_id FROM observation ORDER BY reduction, id DESC) o
 WHERE o.reduction = p.id;

DROP TABLE ledger;
CREATE VIEW ledger AS
SELECT segment AS spool_id, campaign, run_id, reduction, count(*) AS units
  FROM observation WHERE segment <> '' GROUP BY segment, campaign, run_id, reduction;
COMMENT ON VIEW ledger IS 'Spool files that results of the store were loaded from';
COMMENT ON COLUMN ledger.spool_id IS 'Identifier of the spool file';
COMMENT ON COLUMN ledger.campaign IS 'Name of the campaign';
COMMENT ON COLUMN ledger.run_id IS 'Run that wrote it';
COMMENT ON COLUMN ledger.reduction IS 'Reduction';
COMMENT ON COLUMN ledger.units IS 'Results of it in the store';
