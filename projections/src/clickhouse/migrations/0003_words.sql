-- Words of texts, in lower case: found without reading the texts. It is of the expression, so that a part that has no index yet answers the same.
-- What was inserted before gets it when its parts are merged; ALTER TABLE … MATERIALIZE INDEX words does it at once.
ALTER TABLE {store}.messages ADD INDEX IF NOT EXISTS words lowerUTF8(text) TYPE text(tokenizer = splitByNonAlpha);
