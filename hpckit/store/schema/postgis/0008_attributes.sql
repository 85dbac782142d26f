-- Attributes of zones. Each reduction has views of its own with them, which are made after this script.

ALTER TABLE zone ADD COLUMN attributes jsonb;
COMMENT ON COLUMN zone.attributes IS 'Attributes that the campaign names, as the zone layer has them; dates and times as text';

ALTER TABLE reduction
    ADD COLUMN attributes jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN attributes_digest text NOT NULL DEFAULT '';
COMMENT ON COLUMN reduction.attributes IS 'Names and types of the attributes of zones, in order: [[name, type], …]';
COMMENT ON COLUMN reduction.attributes_digest IS 'Digest of their values; empty without attributes';

CREATE OR REPLACE VIEW latest AS
SELECT z.id, p.name AS reduction, z.name AS zone, z.crop, a.time, b.band,
       NULLIF(r.data[b.mean_at], 'NaN') AS mean,
       CASE WHEN upper(b.band) = 'NDVI' THEN NULLIF(r.data[b.mean_at], 'NaN') END AS ndvi,
       r.data[b.valid_at] / NULLIF(r.data[b.total_at], 0) AS valid_fraction,
       a.name AS acquisition, a.platform, z.geom, z.attributes
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
COMMENT ON COLUMN latest.attributes IS 'Attributes of the zone';
