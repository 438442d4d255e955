"""`xmodal serve`: one page on which people search, look and correct.

`index` holds a vector of each image and of each text, and what is known of the images; `ranking` searches them
exactly; `facets` are the filters; `pictures` and `attention` show one image; `review` keeps what people say as a
corrections overlay; `selection` takes images out again; `app` answers the page's requests, `guard` says whose.
"""
