DROP TABLE namings;
