#!/usr/bin/env python3
"""Make the small Latin faces of the workbench from the full ones.

What it is for: the binary carries its own fonts, so that a picture taken on one machine looks the same on another.
The full faces are ten times larger than what the window shows.

Needs fonttools (`python3 -m pip install fonttools`) and the Debian packages fonts-inter and fonts-jetbrains-mono,
or the same files from the projects' releases:

    python3 subset.py /usr/share/fonts/opentype/inter /usr/share/fonts/truetype/jetbrains-mono

Two things are changed beside the number of glyphs, both so that text is shown as it is:
 * contextual alternates and ligatures are left out: they would draw the x of "2x4" as a times sign and "->" as an
   arrow, and the outputs of a model must be shown letter by letter;
 * Inter SemiBold gets its tabular digits as the default ones: it sets the headline numbers, which change under the
   hand and must not make their neighbours jump.
"""

import pathlib
import sys

from fontTools import subset
from fontTools.ttLib import TTFont

LETTERS = [
    (0x0020, 0x007E),  # ASCII
    (0x00A0, 0x024F),  # Latin-1, Latin Extended-A and -B
    (0x02B0, 0x036F),  # modifiers and combining marks
    (0x0370, 0x03FF),  # Greek
    (0x0400, 0x045F),  # Cyrillic
    (0x1E00, 0x1EFF),  # Vietnamese and other Latin with two marks
    (0x2000, 0x206F),  # punctuation, dashes, the ellipsis
    (0x2070, 0x209F),  # superscripts and subscripts
    (0x20A0, 0x20BF),  # currencies
    (0x2100, 0x214F),  # letter-like symbols
    (0x2150, 0x218F),  # fractions
    (0x2190, 0x21FF),  # arrows
    (0x2200, 0x22FF),  # operators
    (0x2300, 0x23FF),  # the keys of a Mac: command, option, control, return
    (0x25A0, 0x25FF),  # plain shapes
]
BOX_DRAWING = [(0x2500, 0x257F), (0x2580, 0x259F)]  # for tables in model outputs

KEEP = ["kern", "mark", "mkmk", "ccmp", "locl"]


def codepoints(ranges):
    return [c for first, last in ranges for c in range(first, last + 1)]


def tabular_digits(font):
    """Point the ten digits at their equally wide forms, as the font's own `tnum` feature would."""
    forms = {}
    gsub = font["GSUB"].table
    for record in gsub.FeatureList.FeatureRecord:
        if record.FeatureTag == "tnum":
            for index in record.Feature.LookupListIndex:
                for table in gsub.LookupList.Lookup[index].SubTable:
                    table = getattr(table, "ExtSubTable", table)
                    forms.update(table.mapping)
    for table in font["cmap"].tables:
        for digit in range(ord("0"), ord("9") + 1):
            name = table.cmap.get(digit)
            if name in forms:
                table.cmap[digit] = forms[name]


def make(source, target, ranges, tabular=False):
    font = TTFont(source)
    if tabular:
        tabular_digits(font)
    options = subset.Options()
    options.layout_features = KEEP
    options.hinting = False
    options.desubroutinize = True
    options.notdef_outline = True
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14, 16, 17]
    options.drop_tables += ["DSIG"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codepoints(ranges))
    subsetter.subset(font)
    # A fixed time keeps the result the same, byte for byte, each time this is run.
    font["head"].modified = font["head"].created
    font.recalcTimestamp = False
    font.save(target)
    print(f"{target.name}: {target.stat().st_size // 1024} KB, {len(font.getBestCmap())} characters")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    inter, mono = (pathlib.Path(argument) for argument in sys.argv[1:])
    here = pathlib.Path(__file__).resolve().parent
    make(inter / "Inter-Regular.otf", here / "Inter-Regular.otf", LETTERS)
    make(inter / "Inter-SemiBold.otf", here / "Inter-SemiBold.otf", LETTERS, tabular=True)
    make(mono / "JetBrainsMono-Regular.ttf", here / "JetBrainsMono-Regular.ttf", LETTERS + BOX_DRAWING)


main()
