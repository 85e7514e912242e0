//! What a file is that is no safetensors file, told by its first bytes.

/// What the file is, if it is of a kind that lies beside safetensors files, and what to do
/// about it: `a Git LFS pointer, not the file itself: run git lfs pull`.
#[must_use]
pub fn kind(file: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| file.starts_with(magic);
    // A safetensors file begins with a length, and so may by chance begin like any other;
    // its header follows and is an object.
    if file.get(8) == Some(&b'{') && !begins(b"PK") {
        return text(file);
    }
    let kind = if begins(b"PK\x03\x04") {
        zip(file)
    } else if begins(b"GGUF") {
        "a GGUF file, llama.cpp's format: give the model's safetensors file, or convert \
         it (Transformers reads one with from_pretrained(…, gguf_file=…) and writes \
         safetensors with save_pretrained)"
    } else if begins(b"\x93NUMPY") {
        "a NumPy array (.npy): save a dictionary of named arrays with \
         safetensors.numpy.save_file"
    } else if begins(b"\x89HDF\r\n\x1a\n") {
        "an HDF5 file, as Keras writes them: save the weights with \
         safetensors.numpy.save_file"
    } else if begins(b"\x1f\x8b") {
        "compressed with gzip: unpack it first"
    } else if begins(b"\x28\xb5\x2f\xfd") {
        "compressed with zstd: unpack it first"
    } else if file.get(257..262) == Some(b"ustar") {
        "a tar archive: unpack it first"
    } else if is_pickle(file) {
        PYTORCH
    } else if is_onnx(file) {
        "an ONNX model: give the safetensors file of the model that it was made from"
    } else {
        return text(file);
    };
    Some(kind)
}

const PYTORCH: &str = "a PyTorch checkpoint (.bin, .pt, .pth), which is a pickle: load it \
     with torch.load(…, weights_only=True) and save the tensors with \
     safetensors.torch.save_file";

/// A zip archive is PyTorch's if it holds a pickle, and `NumPy`'s if it holds arrays.
fn zip(file: &[u8]) -> &'static str {
    // The name of the first entry follows its 30 bytes of header.
    let name = &file[30.min(file.len())..file.len().min(130)];
    let names = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    if names(b".npy") {
        "a NumPy archive (.npz): save its arrays with safetensors.numpy.save_file"
    } else if names(b"data.pkl") || names(b"/version") || names(b"/byteorder") {
        PYTORCH
    } else {
        "a zip archive; if it is a PyTorch checkpoint (.bin, .pt), load it with torch.load \
         and save the tensors with safetensors.torch.save_file, else unpack it"
    }
}

/// Before version 1.6, PyTorch wrote pickles one after the other: protocol 2 to 5, and
/// then the long number by which they are known.
fn is_pickle(file: &[u8]) -> bool {
    matches!(file, [0x80, 2..=5, ..])
}

/// An ONNX model begins with its version, and then the name of what wrote it.
fn is_onnx(file: &[u8]) -> bool {
    matches!(file, [0x08, 1..=20, 0x12, length, ..]
    if file.get(4..4 + usize::from(*length)).is_some_and(|name| {
        !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
    }))
}

/// What a file of text is.
fn text(file: &[u8]) -> Option<&'static str> {
    let start = &file[..file.len().min(4096)];
    let start = String::from_utf8_lossy(start);
    let start = start.trim_start_matches('\u{feff}').trim_start();
    let lower: String =
        start.chars().take(16).map(|c| c.to_ascii_lowercase()).collect();
    if start.starts_with("version https://git-lfs.github.com/spec/") {
        Some(
            "a Git LFS pointer of a few lines, in the place of the file: fetch the file \
             itself with git lfs pull, or with hf download",
        )
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        Some(
            "an HTML page, as a server sends it when a download needs a login or is not \
             there: download the file again",
        )
    } else if lower.starts_with("<?xml") {
        Some(
            "an XML text, as a server sends it when a download fails: download the file \
             again",
        )
    } else if start.starts_with('{') && start.contains("\"weight_map\"") {
        Some(
            "the index of a checkpoint in several files: its `weight_map` says which file \
             holds the layer; give that one",
        )
    } else if start.starts_with(['{', '[']) {
        Some("JSON: give the .safetensors file that lies beside it")
    } else if is_text(file) {
        Some("text, and no tensors")
    } else {
        None
    }
}

/// Whether all is plain near the start, where the length of a header would have zeros.
fn is_text(file: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    file.len() > 8 && file.iter().take(256).all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[track_caller]
    fn is(file: &[u8], words: &str) {
        let kind = kind(file).unwrap_or_else(|| panic!("{words} is not recognized"));
        assert!(kind.contains(words), "{kind}");
    }

    #[test]
    fn what_lies_beside_safetensors_files_is_recognized() {
        is(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS");
        is(b"<!DOCTYPE html><html></html>", "HTML");
        is(b"\n  <HTML>\n", "HTML");
        is(b"<?xml version=\"1.0\"?><Error>AccessDenied</Error>", "XML");
        is(br#"{"metadata": {}, "weight_map": {"a": "b.safetensors"}}"#, "weight_map");
        is(br#"{"architectures": ["LlamaForCausalLM"]}"#, "JSON");
        is(b"[1, 2, 3, 4]", "JSON");
        is(b"It was the best of times", "text, and no tensors");
        is(b"GGUF\x03\0\0\0\x10\0\0\0", "GGUF");
        is(b"\x93NUMPY\x01\0v\0{'descr': '<f4'}", "NumPy");
        is(b"\x89HDF\r\n\x1a\n\0\0", "HDF5");
        is(b"\x1f\x8b\x08\0\0", "gzip");
        is(b"\x28\xb5\x2f\xfd\0", "zstd");
        is(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch");
        is(b"\x08\x07\x12\x07pytorch\x1a\x05", "ONNX");
        is(&[&[0; 257][..], b"ustar\0"].concat(), "tar");
    }

    #[test]
    fn zip_archives_are_told_apart_by_their_first_entry() {
        let archive = |name: &[u8]| [b"PK\x03\x04", &[0; 26][..], name].concat();
        is(&archive(b"archive/data.pkl"), "PyTorch");
        is(&archive(b"q_proj.npy"), "NumPy");
        is(&archive(b"word/document.xml"), "zip archive;");
        is(b"PK\x03\x04\0\0", "zip archive;");
    }

    #[test]
    fn a_safetensors_file_is_none_of_them_whatever_its_length() {
        // 0x8b1f bytes of header look like gzip, 0x280 like a pickle.
        for length in [b"\x1f\x8b\0\0\0\0\0\0", b"\x80\x02\0\0\0\0\0\0"] {
            assert_eq!(kind(&[length, &b"{\"x\":"[..]].concat()), None);
        }
        assert_eq!(kind(b""), None);
        assert_eq!(kind(&[0; 64]), None);
    }
}
