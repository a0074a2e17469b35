DROP TABLE shared_lanes;
DROP TABLE queue_items;
DROP TABLE dict_entries;
DROP TABLE shared_heaps;
DROP TABLE shared_objects;
