-- A part of up to 128 MiB keeps all its columns in one file. What is inserted does, then: as a file or two for each column, which is what
-- parts of more than 10 MiB are by default, an insert would make and sync half a hundred.
ALTER TABLE {store}.events MODIFY SETTING min_bytes_for_wide_part = 134217728;
ALTER TABLE {store}.messages MODIFY SETTING min_bytes_for_wide_part = 134217728;
ALTER TABLE {store}.members MODIFY SETTING min_bytes_for_wide_part = 134217728;
