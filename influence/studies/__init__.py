"""Studies: what is pretrained, finetuned and shown; built in, of one's own files, and from a function."""
