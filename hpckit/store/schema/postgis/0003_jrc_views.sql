-- Views in the shapes of JRC's Checks-by-Monitoring tables, for scripts that were written for those.

CREATE VIEW dias_catalogue AS
SELECT o.id,
       a.time AT TIME ZONE 'UTC' AS obstime,
       o.products[1] AS reference,
       substr(a.platform, 2, 2)::char(2) AS sensor,
       's2'::char(2) AS card,
       'extracted'::varchar(24) AS status,
       o.footprint
  FROM observation o
  JOIN acquisition a ON a.id = o.acquisition;
COMMENT ON VIEW dias_catalogue IS 'Observations in the shape of JRC''s catalogue';
COMMENT ON COLUMN dias_catalogue.id IS 'obsid of sigs and hists';
COMMENT ON COLUMN dias_catalogue.obstime IS 'Sensing time, UTC';
COMMENT ON COLUMN dias_catalogue.reference IS 'Name of the first product';
COMMENT ON COLUMN dias_catalogue.sensor IS '2A, 2B, …';
COMMENT ON COLUMN dias_catalogue.card IS 'Kind of data, s2';
COMMENT ON COLUMN dias_catalogue.status IS 'Always extracted: what was not is not here';
COMMENT ON COLUMN dias_catalogue.footprint IS 'Footprint of the products, WGS 84';

CREATE VIEW parcels AS
SELECT z.id AS ogc_fid, z.name AS pid, p.name AS reduction, z.geom AS wkb_geometry
  FROM zone z
  JOIN reduction p ON p.id = z.reduction;
COMMENT ON VIEW parcels IS 'Zones in the shape of JRC''s parcels';
COMMENT ON COLUMN parcels.ogc_fid IS 'pid of sigs and hists';
COMMENT ON COLUMN parcels.pid IS 'Identifier in the zone layer';
COMMENT ON COLUMN parcels.reduction IS 'Reduction';
COMMENT ON COLUMN parcels.wkb_geometry IS 'Polygon, WGS 84';

CREATE VIEW sigs AS
SELECT r.zone AS pid, r.observation AS obsid, b.band,
       r.data[b.valid_at] AS count,
       r.data[b.mean_at] * b.scale AS mean,
       r.data[b.std_at] * b.scale AS std,
       r.data[b.min_at] * b.scale AS min,
       r.data[b.max_at] * b.scale AS max,
       r.data[b.p25_at] * b.scale AS p25,
       r.data[b.p50_at] * b.scale AS p50,
       r.data[b.p75_at] * b.scale AS p75
  FROM record r
  JOIN acquisition a ON a.id = r.acquisition
  JOIN observation o ON o.id = r.observation
  JOIN layout_band b ON b.layout = o.layout
 WHERE r.data[b.valid_at] > 0;
COMMENT ON VIEW sigs IS 'Signatures in the shape and units of JRC''s: reflectance times 10000, rows with valid pixels only';
COMMENT ON COLUMN sigs.pid IS 'parcels.ogc_fid';
COMMENT ON COLUMN sigs.obsid IS 'dias_catalogue.id';
COMMENT ON COLUMN sigs.band IS 'Band or index';
COMMENT ON COLUMN sigs.count IS 'Valid pixels';
COMMENT ON COLUMN sigs.mean IS 'Mean';
COMMENT ON COLUMN sigs.std IS 'Standard deviation';
COMMENT ON COLUMN sigs.min IS 'Minimum';
COMMENT ON COLUMN sigs.max IS 'Maximum';
COMMENT ON COLUMN sigs.p25 IS 'First quartile';
COMMENT ON COLUMN sigs.p50 IS 'Median';
COMMENT ON COLUMN sigs.p75 IS 'Third quartile';

CREATE VIEW hists AS
SELECT r.zone AS pid, r.observation AS obsid,
       (SELECT json_object_agg(c.code::text, round(r.data[c.count_at])::integer ORDER BY c.code)
          FROM layout_class c
         WHERE c.layout = o.layout AND c.band = 'SCL' AND r.data[c.count_at] > 0) AS hist
  FROM record r
  JOIN acquisition a ON a.id = r.acquisition
  JOIN observation o ON o.id = r.observation;
COMMENT ON VIEW hists IS 'Pixels by SCL class in the shape of JRC''s histograms';
COMMENT ON COLUMN hists.pid IS 'parcels.ogc_fid';
COMMENT ON COLUMN hists.obsid IS 'dias_catalogue.id';
COMMENT ON COLUMN hists.hist IS 'Pixels by class code; classes without pixels are left out';
