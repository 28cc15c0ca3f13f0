"""``graypipe show``: draw what a plan does to an image of yours.

    graypipe show scan.png --source gray:12 --target imagenet
    graypipe show a.tif b.tif --source RGBY --target imagenet --via ... --out shown/

For every file, a picture shows the stored bands, the output as the backbone sees it,
histograms of both, and what wrong choices would have given. The command also prints the
code that does the same.
"""
