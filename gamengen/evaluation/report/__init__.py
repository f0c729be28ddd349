"""What a person looks at: filmstrips, a video, curves and one page with all of it inside."""
