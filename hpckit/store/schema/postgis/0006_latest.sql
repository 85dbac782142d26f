-- What maps show: the crop of each zone, and zones with their latest clear observation.

ALTER TABLE zone ADD COLUMN crop text;
COMMENT ON COLUMN zone.crop IS 'Crop, as the zone layer says; null where it is unknown';

ALTER TABLE layout ADD COLUMN shown text;
COMMENT ON COLUMN layout.shown IS 'Band that maps show: NDVI, or else the first one';
UPDATE layout l SET shown = (
    SELECT b.band FROM layout_band b WHERE b.layout = l.id ORDER BY (upper(b.band) = 'NDVI') DESC, b.position LIMIT 1);

-- For each zone from the newest acquisition back, until one shows half of it. Where nothing of a record is asked for, as
-- in a count of rows or the extent, PostgreSQL leaves the joins out.
CREATE VIEW latest AS
SELECT z.id, p.name AS reduction, z.name AS zone, z.crop, a.time, b.band,
       NULLIF(r.data[b.mean_at], 'NaN') AS mean,
       CASE WHEN upper(b.band) = 'NDVI' THEN NULLIF(r.data[b.mean_at], 'NaN') END AS ndvi,
       r.data[b.valid_at] / NULLIF(r.data[b.total_at], 0) AS valid_fraction,
       a.name AS acquisition, a.platform, z.geom
  FROM zone z
  JOIN reduction p ON p.id = z.reduction
  LEFT JOIN record r ON r.zone = z.id AND r.acquisition = (
       SELECT n.acquisition
         FROM acquisition c
         JOIN record n ON n.acquisition = c.id AND n.zone = z.id
         JOIN observation s ON s.id = n.observation
         JOIN layout k ON k.id = s.layout
         JOIN layout_band q ON q.layout = k.id AND q.band = k.shown
        WHERE n.data[q.valid_at] > 0 AND n.data[q.valid_at] >= 0.5 * n.data[q.total_at]
        ORDER BY c.time DESC LIMIT 1)
  LEFT JOIN acquisition a ON a.id = r.acquisition
  LEFT JOIN observation o ON o.id = r.observation
  LEFT JOIN layout l ON l.id = o.layout
  LEFT JOIN layout_band b ON b.layout = l.id AND b.band = l.shown;
COMMENT ON VIEW latest IS 'Zones with their latest clear observation, for maps; without one, its columns are null';
COMMENT ON COLUMN latest.id IS 'zone.id';
COMMENT ON COLUMN latest.reduction IS 'Reduction';
COMMENT ON COLUMN latest.zone IS 'Identifier of the zone';
COMMENT ON COLUMN latest.crop IS 'Crop, as the zone layer says';
COMMENT ON COLUMN latest.time IS 'Sensing time';
COMMENT ON COLUMN latest.band IS 'NDVI, or else the first band of the reduction';
COMMENT ON COLUMN latest.mean IS 'Mean of this band';
COMMENT ON COLUMN latest.ndvi IS 'The same; null where the band is another one';
COMMENT ON COLUMN latest.valid_fraction IS 'Share of valid pixels, at least 0.5';
COMMENT ON COLUMN latest.acquisition IS 'Datatake without its baseline';
COMMENT ON COLUMN latest.platform IS 'Satellite';
COMMENT ON COLUMN latest.geom IS 'Polygon, WGS 84';
