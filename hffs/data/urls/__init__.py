"""Images that cells name by URL: what may be asked for, how it is fetched, when it is believed."""
