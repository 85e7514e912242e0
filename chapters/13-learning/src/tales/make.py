"""Makes tales.txt.gz and tokenizer.json from eleven of Andrew Lang's fairy books, as Project Gutenberg has them.

    python make.py FOLDER       where FOLDER holds 503.txt, 540.txt, … (the numbers below)
    python make.py              fetches the copies that GITenberg has on GitHub

The books are in the public domain (Lang died in 1912). What the text loses here: the head and
the license of Project Gutenberg, tables of contents, footnotes, and the ends of lines within
a paragraph. One paragraph is one line; an empty line stands before a title,
which may be that of a tale or of a chapter of one.

The tokenizer is the byte pair encoding of Sennrich et al. 2016, found by the tokenizers package
(0.23): 1,024 pieces. A merge never goes beyond a word with the space before it, or a run of
other characters.
"""

import gzip
import json
import pathlib
import re
import sys
import unicodedata
import urllib.request

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PIECES = 1024

BOOKS = {
    503: "Blue",
    540: "Red",
    7277: "Green",
    640: "Yellow",
    5615: "Pink",
    6746: "Grey",
    641: "Violet",
    2435: "Crimson",
    3282: "Brown",
    3027: "Orange",
    3454: "Lilac",
}


def book(number):
    """The text of a book between the marks of Project Gutenberg."""
    if len(sys.argv) > 1:
        raw = (pathlib.Path(sys.argv[1]) / f"{number}.txt").read_bytes()
    else:
        name = f"The-{BOOKS[number]}-Fairy-Book_{number}"
        url = f"https://raw.githubusercontent.com/GITenberg/{name}/master/{number}.txt"
        raw = urllib.request.urlopen(url).read()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = text.replace("\r\n", "\n")
    start = re.search(r"\*\*\* START OF TH.*\n|\*END THE SMALL PRINT!.*\n", text)
    end = re.search(r"\n *End of (the|The) Project Gutenberg", text)
    return text[start.end() : end.start()]


def plain(text):
    """ASCII only, with one kind of quotation mark and of dash."""
    for old, new in [("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"), ("—", "--")]:
        text = text.replace(old, new)
    text = unicodedata.normalize("NFKD", text)
    text = text.encode("ascii", "ignore").decode()
    # `word` and ``word'' are older quotation marks; _word_ was printed in italics.
    text = text.replace("``", '"').replace("''", '"').replace("`", "'")
    text = re.sub(r"\[[^\]]*\]|\(\d+\)|[_*~^|{}\[\]<>/=+&$#%]", "", text)
    text = re.sub(r"\s*--+\s*", " -- ", text)
    return re.sub(r"\s+", " ", text).strip()


def is_title(paragraph):
    words = re.findall(r"[A-Za-z']+", paragraph)
    if not words or len(paragraph) > 70 or paragraph.endswith((".", ",", ";", ":")):
        return False
    capitals = sum(word[0].isupper() or len(word) < 5 for word in words)
    return words[0][0].isupper() and capitals == len(words) and len("".join(words)) > 4


def is_prose(paragraph):
    return len(paragraph) > 30 and re.search(r"[.!?:;,]['\"]?$", paragraph) is not None


def tales(text):
    """The lines of a book: paragraphs, and titles where a paragraph follows."""
    lines, title, begun = [], None, False
    for raw in re.split(r"\n\s*\n", text):
        paragraph = plain(raw)
        if re.match(r"\s*(\[|FOOTNOTE|\* )", raw) or "Gutenberg" in paragraph:
            continue
        if re.match(r"(?i)(preface|introduction|contents)\b", paragraph):
            title, begun = None, False
        elif is_title(paragraph):
            title = paragraph.upper()
        elif is_prose(paragraph):
            if title is not None:
                lines += ["", title]
                title, begun = None, True
            if begun:
                lines.append(paragraph)
    return lines


def tokenizer(text):
    """A byte pair encoding of the text."""
    found = Tokenizer(models.BPE())
    words = Regex(r" ?[A-Za-z]+| ?[^A-Za-z \n]+|\n| ")
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=PIECES, show_progress=False)
    # Cut at lines, so that no word is cut.
    found.train_from_iterator(text.splitlines(keepends=True), trainer)
    return found


def main():
    lines = [line for number in BOOKS for line in tales(book(number))]
    text = "\n".join(lines).strip() + "\n"
    out = pathlib.Path(__file__).with_name("tales.txt.gz")
    # No name and no date in the file: the same text gives the same bytes.
    with open(out, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(text.encode())
    found = tokenizer(text)
    small = json.dumps(json.loads(found.to_str()), ensure_ascii=False, separators=(",", ":"))
    out.with_name("tokenizer.json").write_text(small + "\n")
    print(len(text), "bytes,", sum(not line for line in lines), "titles")


if __name__ == "__main__":
    main()
