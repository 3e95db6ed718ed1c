"""What holds for every framework alike."""
