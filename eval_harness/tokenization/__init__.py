"""Tasks as tokens: the vocabulary, the formats in which a task is posed, the tokenizer."""
