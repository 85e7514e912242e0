#!/usr/bin/env python3
"""Makes the files in fonts/: faces with open licenses, cut down to what the book needs.

    pip install fonttools==4.68.0 brotli
    npm install --prefix FOLDER @fontsource/stix-two-math@5.3.0 \
        @fontsource/source-serif-4@5.3.0 @fontsource/source-sans-3@5.3.0
    cargo vendor FOLDER/vendor          # for Source Code Pro, which mdBook carries
    python3 book/theme/fonts.py FOLDER/node_modules/@fontsource \
        FOLDER/vendor/mdbook-html/front-end/fonts

Text faces are copied as Google Fonts cuts them (Latin). The maths face and the face for
code are cut here, and renamed, since "Source" is a reserved name. `cargo test -p weave`
holds the maths face to the formulas of the book.
"""

import shutil
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

OUT = Path(__file__).parent / "fonts"

ASCII = range(0x20, 0x7F)
GREEK = [*range(0x391, 0x3AA), *range(0x3B1, 0x3CA), 0x3D1, 0x3D5, 0x3D6, 0x3F1, 0x3F5]

# What formulas use, with room for chapters to come: a `<mi>` of one letter is shown by
# its mathematical italic.
MATHS = [
    *ASCII, *GREEK,
    *map(ord, " ¬±²³·×÷´¨ˆˇ˘˙˜¯‖′″‴…⋯⋮⋱⏞⏟ℎℏℓ℘ℝℕℤℚℂℰℱℒ𝔼ℙ℧∂∇∅∆∏∐∑∫∮√∛∝∞∠∡∢∣∤∥∧∨∩∪∴∵∼≀≃≅≈≉"),
    *map(ord, "≔≜≠≡≢≤≥≦≧≪≫≲≳≺≻⊂⊃⊆⊇⊄⊈⊕⊖⊗⊘⊙⊤⊥⊢⊣⋀⋁⋂⋃⋅⋆⋈⌈⌉⌊⌋⟨⟩⟦⟧←↑→↓↔↕↦⇐⇒⇔⇑⇓⟵⟶⟷⟹⟺⟼↪⊳⊲∀∃∄∈∉∋∖∗∘∙−∓□■▪◦★♯♭⨁⨂⨀⎡⎢⎣⎤⎥⎦⎛⎜⎝⎞⎟⎠⎧⎨⎩⎪⎫⎬⎭ᵀ⁻⁺⁰¹⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉̂̃̄̇⃗"),
    *range(0x1D434, 0x1D468),  # italic
    *range(0x1D400, 0x1D434),  # bold
    *range(0x1D468, 0x1D49C),  # bold italic
    *range(0x1D49C, 0x1D4D0),  # script
    *range(0x1D538, 0x1D56C),  # blackboard
    *range(0x1D6E2, 0x1D71C),  # italic Greek
    0x1D7D9, 0x2061, 0x2062, 0x2063, 0x2064, 0xA0,
]

# What listings and printed outputs use.
CODE = [
    *range(0x20, 0x7F), *range(0xA0, 0x100), *GREEK,
    *map(ord, "–—‘’“”†•…‹›€™←↑→↓↔∂∆∏∑−√∞∫≈≠≤≥◊✓⁰⁴⁵⁶⁷⁸⁹ⁿ₀₁₂₃₄₅₆₇₈₉"),
    *range(0x2500, 0x25A0),  # boxes and bars
    0x25A0, 0x25A1, 0x25AA, 0x25B2, 0x25B6, 0x25BA, 0x25BC, 0x25C6, 0x25CB, 0x25CF,
]


def cut(source, characters, features, family, name):
    options = subset.Options()
    options.layout_features = features
    options.hinting = False
    options.flavor = "woff2"
    options.notdef_outline = True
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=characters)
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 6, 16):
            text = family.replace(" ", "") if record.nameID == 6 else family
            record.string = text
    font["head"].modified = font["head"].created
    font.recalcTimestamp = False
    subset.save_font(font, str(OUT / name), options)
    missing = sorted({c for c in characters} - set(TTFont(source).getBestCmap()))
    print(name, (OUT / name).stat().st_size, "lacks", "".join(map(chr, missing)))


def main(fontsource, mdbook):
    fontsource, mdbook = Path(fontsource), Path(mdbook)
    stix = fontsource / "stix-two-math"
    cut(
        stix / "files/stix-two-math-latin-400-normal.woff2",
        MATHS, ["ssty", "ccmp", "mark", "mkmk", "kern"], "Book Math", "maths.woff2",
    )
    shutil.copy(stix / "LICENSE", OUT / "MATHS-LICENSE.txt")
    code = next(mdbook.glob("source-code-pro-*-500.woff2"))
    cut(code, CODE, ["ccmp", "mark"], "Book Mono", "code.woff2")
    shutil.copy(mdbook / "SOURCE-CODE-PRO-LICENSE.txt", OUT / "CODE-LICENSE.txt")
    for family, styles in {
        "source-serif-4": ["400-normal", "400-italic", "600-normal"],
        "source-sans-3": ["400-normal", "600-normal"],
    }.items():
        for style in styles:
            face = f"{family}-latin-{style}.woff2"
            shutil.copy(fontsource / family / "files" / face, OUT / f"{family}-{style}.woff2")
        shutil.copy(fontsource / family / "LICENSE", OUT / f"{family.upper()}-LICENSE.txt")


if __name__ == "__main__":
    main(*sys.argv[1:])
