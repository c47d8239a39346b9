"""FILE of `solojax export --to stablehlo` IMAGE.npy ...: what it finds, by NumPy and JAX alone."""
import io, itertools, json, pathlib, sys, zipfile, jax, jax.export, numpy as np
def resize(image, old, size):  # H W 3 uint8, bilinearly and to the bit as OpenCV does
    at = [np.float32((np.arange(n) + 0.5) * (1 / (n / o)) - 0.5) for n, o in zip(size, old)]
    (y, y1), (x, x1) = (np.intp((w // 1 + [[0], [1]]).clip(0, o - 1)) for w, o in zip(at, old))
    b, a = (np.rint([(1 - w % 1) * 2048, w % 1 * 2048]).astype(np.int32)[..., None] for w in at)
    low, high = ((row[:, x] * a[0] + row[:, x1] * a[1]) >> 4 for row in (image[y], image[y1]))
    return (((low * b[0, :, None] >> 16) + (high * b[1, :, None] >> 16) + 2) >> 2).astype(np.uint8)
def place(old, number, canvas):  # on a canvas: how bad, its number, (height, width) there
    if about["resize"] == "stretch":
        return abs(np.log(canvas[0] / canvas[1]) - np.log(old[0] / old[1])), number, canvas
    wanted = min(about["long_side"] / max(old), about["short_side"] / min(old))
    whole, most = ([int(o * s + 0.5) for o in old] for s in (wanted, min(np.divide(canvas, old))))
    size = np.maximum(whole if all(np.less_equal(whole, canvas)) else np.minimum(most, canvas), 1)
    return (-size[0] * size[1], canvas[0] * canvas[1]), number, size
def find(image, old):  # -> scores, labels, packed masks K H W/8 and, of heads with boxes, boxes
    _, number, size = min(place(old, *one) for one in enumerate(about["canvases"]))
    images = np.zeros((about["batch"] or 1, *about["canvases"][number], 3), np.uint8)
    images[0, : size[0], : size[1]] = resize(image, old, size)
    sizes, olds = np.int32([[size] * len(images), [old] * len(images)])
    (network, masks), step, side = programs[number], about["block"], about["tiles"][number]
    scores, labels, soft, valid, _, *boxes = map(np.asarray, network(weights, images, sizes, olds))
    bits = np.zeros((valid[0].sum(), old[0], -(-old[1] // 8)), np.uint8)
    for i, y, x in itertools.product(range(0, len(bits), step), *(range(0, o, side) for o in old)):
        part = bits[i : i + step, y : y + side, x // 8 : (x + side) // 8]
        made = np.asarray(masks(np.int32([i, y, x]), soft, sizes, olds))[0]
        part[...] = made[tuple(map(slice, part.shape))]
    return [one[0, : len(bits)][bits.any((1, 2))] for one in (scores, labels, bits[None], *boxes)]
read = zipfile.ZipFile(sys.argv[1]).read
about, parts = json.loads(read("metadata.json")), np.load(io.BytesIO(read("weights.npz")))
weights, load = jax.device_put(dict(parts)), lambda name: jax.export.deserialize(read(name)).call
programs = [[jax.jit(load(name)) for name in pair] for pair in about["programs"]]
for path, image in ((path, np.load(path)) for path in sys.argv[2:]):
    np.savez(path + ".found", *(found := find(image, image.shape[:2])))
    for k in np.flatnonzero(found[0] >= np.array(about["least_scores"])[found[1]])[::-1]:
        mask = np.unpackbits(found[2][k], axis=-1, count=image.shape[1]) > 0
        color = about["colors"][found[1][k] + k * about["by_instance"]]
        image[mask] = image[mask] * (1 - 0.45) + np.multiply(color, 0.45)
    head = b"P6 %d %d 255\n" % image.shape[1::-1]
    pathlib.Path(path + ".ppm").write_bytes(head + image.tobytes())
