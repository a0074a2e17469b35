DROP TABLE ticks;
DROP TABLE schedules;
