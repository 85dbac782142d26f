-- Views for people. A filter on zone and band uses the indexes: zone by name, then one probe of the key of
-- record per acquisition, which is why each view joins acquisition.

CREATE VIEW signature AS
SELECT p.name AS reduction, z.name AS zone, a.time, b.band,
       r.data[b.valid_at] AS valid,
       r.data[b.total_at] AS total,
       r.data[b.valid_at] / NULLIF(r.data[b.total_at], 0) AS valid_fraction,
       NULLIF(r.data[b.mean_at], 'NaN') AS mean,
       NULLIF(r.data[b.std_at], 'NaN') AS std,
       NULLIF(r.data[b.min_at], 'NaN') AS min,
       NULLIF(r.data[b.max_at], 'NaN') AS max,
       NULLIF(r.data[b.p25_at], 'NaN') AS p25,
       NULLIF(r.data[b.p50_at], 'NaN') AS p50,
       NULLIF(r.data[b.p75_at], 'NaN') AS p75,
       a.name AS acquisition, a.platform, a.level, a.relative_orbit,
       o.tile, o.baseline, o.cloud_cover, o.run_id
  FROM reduction p
  JOIN zone z ON z.reduction = p.id
  JOIN record r ON r.zone = z.id
  JOIN acquisition a ON a.id = r.acquisition
  JOIN observation o ON o.id = r.observation
  JOIN layout_band b ON b.layout = o.layout;
COMMENT ON VIEW signature IS 'Statistics by zone, time and band, in reflectance or the unit of the index';
COMMENT ON COLUMN signature.reduction IS 'Reduction';
COMMENT ON COLUMN signature.zone IS 'Identifier of the zone';
COMMENT ON COLUMN signature.time IS 'Sensing time';
COMMENT ON COLUMN signature.band IS 'Band or index';
COMMENT ON COLUMN signature.valid IS 'Pixels that count, or covered pixels';
COMMENT ON COLUMN signature.total IS 'Pixels of the zone, or covered pixels';
COMMENT ON COLUMN signature.valid_fraction IS 'valid / total: how clear the zone was';
COMMENT ON COLUMN signature.mean IS 'Mean; null where no pixel is valid, like all statistics';
COMMENT ON COLUMN signature.std IS 'Standard deviation of the pixels';
COMMENT ON COLUMN signature.min IS 'Minimum';
COMMENT ON COLUMN signature.max IS 'Maximum';
COMMENT ON COLUMN signature.p25 IS 'First quartile; null if it was not computed';
COMMENT ON COLUMN signature.p50 IS 'Median; null if it was not computed';
COMMENT ON COLUMN signature.p75 IS 'Third quartile; null if it was not computed';
COMMENT ON COLUMN signature.acquisition IS 'Datatake without its baseline';
COMMENT ON COLUMN signature.platform IS 'Satellite';
COMMENT ON COLUMN signature.level IS 'Processing level';
COMMENT ON COLUMN signature.relative_orbit IS 'Relative orbit';
COMMENT ON COLUMN signature.tile IS 'Tile or tiles';
COMMENT ON COLUMN signature.baseline IS 'Processing baseline';
COMMENT ON COLUMN signature.cloud_cover IS 'Percent of the product';
COMMENT ON COLUMN signature.run_id IS 'Run that computed it';

CREATE VIEW class_count AS
SELECT p.name AS reduction, z.name AS zone, a.time, c.band, c.code, r.data[c.count_at] AS pixels, a.name AS acquisition
  FROM reduction p
  JOIN zone z ON z.reduction = p.id
  JOIN record r ON r.zone = z.id
  JOIN acquisition a ON a.id = r.acquisition
  JOIN observation o ON o.id = r.observation
  JOIN layout_class c ON c.layout = o.layout;
COMMENT ON VIEW class_count IS 'Pixels by zone, time and class, whatever the mask';
COMMENT ON COLUMN class_count.reduction IS 'Reduction';
COMMENT ON COLUMN class_count.zone IS 'Identifier of the zone';
COMMENT ON COLUMN class_count.time IS 'Sensing time';
COMMENT ON COLUMN class_count.band IS 'Class band, SCL';
COMMENT ON COLUMN class_count.code IS 'Class';
COMMENT ON COLUMN class_count.pixels IS 'Pixels, or covered pixels';
COMMENT ON COLUMN class_count.acquisition IS 'Datatake without its baseline';
