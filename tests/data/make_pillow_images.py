"""Writes intact and damaged images, and how Pillow reads each of them: make_pillow_images.py FOLDER

FOLDER/verdicts.csv lists for each file: name, verdict ("reads", "warns" or "refuses": what facet must do), tolerance in
levels, width and height. The pixels, upright and in RGB, are in FOLDER/NAME.rgb. Unless a case gives a reason to
differ, facet must read what Pillow reads and refuse what Pillow refuses.
"""

import io
import pathlib
import random
import struct
import sys
import warnings
import zlib

from PIL import Image, ImageOps

folder = pathlib.Path(sys.argv[1])
verdicts = []
random.seed(1)
warnings.simplefilter("ignore")


def noise(mode, width, height):
    channels = len(Image.new(mode, (1, 1)).tobytes())
    return Image.frombytes(mode, (width, height), random.randbytes(width * height * channels))


def smooth(width, height):
    return noise("RGB", 5, 4).resize((width, height), Image.BICUBIC)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened_by_pillow(data):
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # with any exception, Pillow refuses the file
        return None


def case(name, data, *, warns=False, differs="", refuses=None, pixels=None, tolerance=0):
    """Adds a file. differs: why facet's verdict differs from Pillow's; `refuses` then gives facet's."""
    theirs = opened_by_pillow(data)
    assert (refuses is None) == (differs == ""), name
    refused = (theirs is None) if refuses is None else refuses
    (folder / name).write_bytes(data)
    image = pixels or theirs
    if image is not None:
        (folder / f"{name}.rgb").write_bytes(image.tobytes())
    width, height = image.size if image is not None else (0, 0)
    verdicts.append(f"{name},{'refuses' if refused else 'warns' if warns else 'reads'},{tolerance},{width},{height}\n")


def find(data, marker, start=0):
    at = data.find(bytes([0xFF, marker]), start)
    assert at >= 0
    return at


def spliced(data, at, inserted=b"", skip=0):
    return data[:at] + inserted + data[at + skip:]


def exif(orientation, order="<"):
    header = b"II*\0" if order == "<" else b"MM\0*"
    return header + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def jpegs():
    def add(name, data, **options):
        case(f"{name}.jpg", data, tolerance=1, **options)

    image = smooth(83, 61)
    plain = encoded(image, "JPEG", quality=90)
    progressive = encoded(image, "JPEG", quality=90, progressive=True)
    busy = encoded(noise("RGB", 64, 64), "JPEG", quality=90)
    for name, data in (("plain", plain), ("progressive", progressive), ("busy", busy),
                       ("full_chroma", encoded(image, "JPEG", subsampling=0)),
                       ("half_chroma", encoded(image, "JPEG", subsampling=1)),
                       ("grey", encoded(image.convert("L"), "JPEG"))):
        add(name, data)
    cmyk = encoded(image.convert("RGB").convert("CMYK"), "JPEG", quality=95)
    adobe = find(cmyk, 0xEE)
    add("cmyk", cmyk)
    add("cmyk_without_adobe", spliced(cmyk, adobe, skip=16))

    # Defects that change no pixel, such as extraneous bytes before the markers DHT, SOS and EOI.
    scan = find(plain, 0xDA)
    add("junk_before_tables", spliced(plain, find(plain, 0xC4), b"junk"), warns=True)
    add("junk_before_scan", spliced(plain, scan, b"\0\0"), warns=True)
    add("junk_before_end", spliced(plain, len(plain) - 2, b"\0junk" * 10), warns=True)
    add("junk_before_end_progressive", spliced(progressive, len(progressive) - 2, b"\0junk" * 10), warns=True)
    add("junk_after_end", plain + b"junk" * 100)
    add("two_images", plain + busy)
    add("fill_bytes", spliced(plain, scan, b"\xFF\xFF"))
    why = "Pillow needs the end marker; all data of the image are present"
    for name, data in (("plain", plain), ("progressive", progressive)):
        add(f"no_end_{name}", data[:-2], warns=True, refuses=False, differs=why, pixels=opened_by_pillow(data))
        add(f"half_end_{name}", data[:-1], warns=True, refuses=False, differs=why, pixels=opened_by_pillow(data))
    add("zeros_for_end", plain[:-2] + bytes(5000), warns=True)
    # The Adobe segment replaces the JFIF segment, which takes precedence over it.
    with_adobe = spliced(plain, 2, b"\xFF\xEE\0\x0EAdobe\0d\0\0\0\0\5", 18)
    add("unknown_adobe_transform", with_adobe, warns=True)
    add("jfif_major", spliced(plain, 11, b"\3", 1), warns=True)
    add("jfif_minor", spliced(plain, 12, b"\x63", 1))
    scan_data = scan + 2 + int.from_bytes(plain[scan + 2:scan + 4], "big")
    add("spectral_zero", spliced(plain, scan_data - 2, b"\0", 1), warns=True)
    add("comment", spliced(plain, 2, b"\xFF\xFE\0\x07hello"))

    # Damage.
    middle = scan_data + (len(busy) - scan_data) // 2
    for data, name in ((plain, "plain"), (progressive, "progressive"), (busy, "busy")):
        add(f"cut_by_one_{name}", data[:-3])
        add(f"cut_in_half_{name}", data[:len(data) // 2])
        add(f"cut_in_header_{name}", data[:find(data, 0xC4) + 5])
    why = "Pillow fills the missing part with grey"
    add("ends_in_the_middle", spliced(busy, middle, b"\xFF\xD9"), refuses=True, differs=why)
    add("bad_huffman_code", spliced(busy, middle, b"\xFF\0" * 20, 40), refuses=True,
        differs="Pillow ignores bad Huffman codes")
    add("no_quantization", spliced(plain, find(plain, 0xDB) + 1, b"\xEF", 1))
    add("no_huffman", spliced(plain, find(plain, 0xC4) + 1, b"\xEF", 1))
    add("no_scan", plain[:scan] + b"\xFF\xD9")
    frame = find(plain, 0xC0)
    for name, at, value in (("twelve_bits", 4, b"\x0C"), ("lossless", 1, b"\xC3"), ("hierarchical", 1, b"\xC5"),
                            ("no_height", 5, b"\0\0"), ("no_components", 9, b"\0"), ("two_components", 9, b"\2")):
        add(name, spliced(plain, frame + at, value, len(value)))

    # Orientations. A thumbnail within EXIF is not an image of its own.
    for orientation in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9):
        for order in "<>":
            block = b"Exif\0\0" + exif(orientation, order)
            add(f"orientation_{orientation}{'l' if order == '<' else 'b'}",
                spliced(plain, 2, b"\xFF\xE1" + struct.pack(">H", len(block) + 2) + block))
    block = b"Exif\0\0" + exif(6) + encoded(noise("RGB", 16, 16), "JPEG")
    add("thumbnail", spliced(plain, 2, b"\xFF\xE1" + struct.pack(">H", len(block) + 2) + block))


SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind, data, crc=None):
    return struct.pack(">I", len(data)) + kind + data + (crc or struct.pack(">I", zlib.crc32(kind + data)))


def png(depth, colour, size=(13, 9), interlaced=False, before=b"", after=b"", pixels=None, split=False):
    """A PNG of random pixels, with chunks before and after them."""
    bits = depth * {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}[colour]
    data = b""
    for x, y, step_x, step_y in ADAM7 if interlaced else ((0, 0, 1, 1),):
        width, height = -(-(size[0] - x) // step_x), -(-(size[1] - y) // step_y)
        for _ in range(height if width > 0 else 0):
            data += b"\0" + random.randbytes((width * bits + 7) // 8)
    data = zlib.compress(pixels(data) if pixels else data)
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, int(interlaced))
    palette = chunk(b"PLTE", random.randbytes(3 << depth)) if colour == PALETTE else b""
    parts = (data[:20], data[20:]) if split else (data,)
    return (SIGNATURE + chunk(b"IHDR", header) + palette + before + b"".join(chunk(b"IDAT", part) for part in parts) +
            after + chunk(b"IEND", b""))


def pngs():
    def add(name, data, **options):
        case(f"{name}.png", data, **options)

    kinds = {"grey": (GREY, (1, 2, 4, 8)), "rgb": (RGB, (8, 16)), "palette": (PALETTE, (1, 2, 4, 8)),
             "grey_alpha": (GREY_ALPHA, (8, 16)), "rgba": (RGBA, (8, 16))}
    for name, (colour, depths) in kinds.items():
        for depth in depths:
            for interlaced in (False, True):
                add(f"{name}_{depth}{'_interlaced' if interlaced else ''}", png(depth, colour, interlaced=interlaced))
    for name, colour, transparent in (("grey", GREY, b"\0\5"), ("rgb", RGB, b"\0\5\0\6\0\7"),
                                      ("palette", PALETTE, b"\0\x80")):
        add(f"{name}_transparent", png(8, colour, before=chunk(b"tRNS", transparent)))
    for interlaced in (False, True):
        deep = png(16, GREY, interlaced=interlaced)
        high = Image.open(io.BytesIO(deep))
        high = Image.frombytes("L", high.size, bytes(min(value, 65535) >> 8 for value in high.getdata()))
        add(f"grey_16{'_interlaced' if interlaced else ''}", deep, pixels=high.convert("RGB"))
    add("extreme_1x1", png(8, RGBA, size=(1, 1), interlaced=True))
    add("profile", encoded(smooth(20, 10), "PNG", icc_profile=b"no profile at all", gamma=3.0))
    plain = png(8, RGB)
    add("in_two_chunks", png(8, RGB, split=True))
    add("unused_trailer", plain + b"junk")
    for orientation in (1, 3, 6, 8, 77):
        add(f"orientation_{orientation}", png(8, RGB, before=chunk(b"eXIf", exif(orientation, ">"))))
        add(f"late_orientation_{orientation}", png(8, RGB, after=chunk(b"eXIf", exif(orientation))))
    animation = encoded(smooth(20, 10), "PNG", save_all=True, append_images=[smooth(20, 10)])
    add("animation", animation)

    # Damage.
    add("no_end", plain[:-12], warns=True)
    add("cut_in_check", plain[:-14], refuses=True, differs="the checksum of the pixels is incomplete")
    for count in (22, 30, 60, len(plain) - 40, len(plain) - 20, len(plain) - 9):
        add(f"cut_by_{count}", plain[:-count])
    add("too_few_rows", png(8, RGB, pixels=lambda data: data[:-40]), refuses=True, differs="the last row is missing")
    bad = b"\1\2\3\4"
    pixels = plain.find(b"IDAT")
    length = int.from_bytes(plain[pixels - 4:pixels], "big")
    add("bad_header_check", spliced(plain, 29, bad, 4))
    add("bad_pixel_check", spliced(plain, pixels + 4 + length, bad, 4), refuses=True,
        differs="Pillow doesn't check the checksum of pixels")
    add("bad_text_check", png(8, RGB, before=chunk(b"tEXt", b"a\0b", bad)))
    add("late_zeros", png(8, RGB, after=b"\0" * 64), warns=True)
    add("late_unknown_critical", png(8, RGB, after=chunk(b"ABCD", b"x")), warns=True)
    add("bad_late_text_check", png(8, RGB, after=chunk(b"tEXt", b"a\0b", bad)), warns=True)
    add("bad_deflate", spliced(plain, pixels + 4, b"\0\0", 2))
    add("unknown_critical", png(8, RGB, before=chunk(b"ABCD", b"")), refuses=True,
        differs="the standard forbids reading past an unknown critical chunk")
    add("bad_filter", png(8, RGB, pixels=lambda data: b"\7" + data[1:]))
    add("odd_depth", spliced(plain, 24, b"\3", 1))


def webps():
    def add(name, data, **options):
        case(f"{name}.webp", data, **options)

    image = smooth(83, 61)
    clear = image.convert("RGBA")
    clear.putalpha(noise("L", 83, 61))
    lossy, lossless = encoded(image, "WEBP", quality=80), encoded(image, "WEBP", lossless=True)
    add("lossy", lossy)
    add("lossless", lossless)
    add("grey", encoded(image.convert("L"), "WEBP"))
    add("lossy_alpha", encoded(clear, "WEBP"))
    add("lossless_alpha", encoded(clear, "WEBP", lossless=True))
    add("lossless_alpha_exact", encoded(clear, "WEBP", lossless=True, exact=True))
    add("animation", encoded(clear, "WEBP", save_all=True, append_images=[smooth(83, 61)], duration=50))
    for orientation in (1, 3, 6, 8, 77):
        add(f"orientation_{orientation}", encoded(image, "WEBP", exif=b"Exif\0\0" + exif(orientation)))
        add(f"bare_orientation_{orientation}", encoded(image, "WEBP", exif=exif(orientation, ">")))
    for name, data in (("lossy", lossy), ("lossless", lossless)):
        for share in (0.2, 0.5, 0.9):
            add(f"cut_{name}_{share}", data[:int(len(data) * share)])
        add(f"zeros_{name}", spliced(data, 20, bytes(12), 12))
        add(f"junk_after_{name}", data + b"junk" * 3)


jpegs()
pngs()
webps()
# The file extension doesn't match the content, which decides.
case("png_inside.jpg", png(8, RGB))
case("webp_inside.jpg", encoded(smooth(30, 20), "WEBP"))
case("jpeg_inside.png", encoded(smooth(30, 20), "JPEG"), tolerance=1)
(folder / "verdicts.csv").write_text("".join(verdicts))
