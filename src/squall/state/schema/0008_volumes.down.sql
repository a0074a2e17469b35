DROP TABLE volume_labels;
DROP TABLE volume_versions;
DROP TABLE volumes;
