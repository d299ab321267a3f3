"""Pages of the web, fetched safely. `fetching` is the door, `public` knows where it may go, `reading` what came."""
