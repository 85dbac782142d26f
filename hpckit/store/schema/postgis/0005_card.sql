-- JRC's kinds of data: Sentinel-2, Sentinel-1 backscatter, Sentinel-1 coherence.

CREATE OR REPLACE VIEW dias_catalogue AS
SELECT o.id,
       a.time AT TIME ZONE 'UTC' AS obstime,
       o.products[1] AS reference,
       substr(a.platform, 2, 2)::char(2) AS sensor,
       (CASE WHEN a.platform LIKE 'S2%' THEN 's2' WHEN a.level = 'CARD-COH6' THEN 'c6' ELSE 'bs' END)::char(2) AS card,
       'extracted'::varchar(24) AS status,
       o.footprint
  FROM observation o
  JOIN acquisition a ON a.id = o.acquisition;
COMMENT ON COLUMN dias_catalogue.card IS 'Kind of data: s2, or of Sentinel-1 bs (backscatter), c6 (coherence)';
