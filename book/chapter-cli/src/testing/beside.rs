//! What every command makes of what stands in a file beside the layer that it reads.

use super::{Contract, Dtype, File, assert_close};
use crate::RawTensor;

/// The layer that is run, and one whose number begins with the same digit.
const LAYER: &str = "layers.1";

impl Contract {
    /// A tensor that is not read would be missing in the output, so it is refused by its
    /// name, or ignored when that is asked for.
    ///
    /// # Panics
    /// When it is passed over, or not told.
    pub fn refuses_what_it_does_not_read(&self) {
        let none = "no chapter has";
        for (name, says) in [
            ("q_norm.weight", "q_norm.weight: a norm on the queries, which "),
            ("sinks", "sinks: learned sinks, one more score in each head's softmax"),
            ("q_proj.weight_scale", "q_proj.weight_scale: a part of quantized weights"),
            ("nonsense.bias", none),
            ("head_mask", none),
        ] {
            let more = self.file.clone().f32s(name, &[4]);
            self.program.refuses(&more, self.command, says);
            let goes_on = format!("--ignore {name} goes on without it");
            self.program.refuses(&more, self.command, &goes_on);
            let start = &name[..name.len() - 2];
            for pattern in [name, &format!("{start}*")] {
                let ignores = format!("{} --ignore {pattern}", self.command);
                self.answers_as_before(&more, &ignores);
            }
        }
        let nothing = format!("{} --ignore q_nrom", self.command);
        self.program.refuses(&self.file, &nothing, "no tensor `q_nrom`");
        let given = self.file.clone().f32s("y", &[1]).f32s("attention_weights", &[1]);
        self.answers_as_before(&given, self.command);
    }

    /// Behind a prefix, other layers are left alone, whose names may begin alike; what
    /// belongs to the sequence counts wherever it stands.
    ///
    /// # Panics
    /// When it is otherwise.
    pub fn looks_at_one_layer(&self) {
        let other = self.file.clone().f32s("q_norm.weight", &[4]).behind("layers.10.");
        let one = self.file.clone().behind(&format!("{LAYER}."));
        let both = one.and(other);
        for prefix in [LAYER, "layers.1."] {
            let command = format!("{} --prefix {prefix}", self.command);
            self.answers_as_before(&both, &command);
            let norm = both.clone().f32s("layers.1.k_norm.weight", &[4]);
            let says = "layers.1.k_norm.weight: a norm on the keys";
            self.program.refuses(&norm, &command, says);
            self.answers_as_before(&norm, &format!("{command} --ignore k_norm.weight"));
            let masked = both.clone().f32s("head_mask", &[4]);
            self.program.refuses(&masked, &command, "head_mask: ");
        }
        let needed = self.needed().next().unwrap_or_default();
        let (shape, dtype) = self.file.shape(needed).unwrap_or((&[], Dtype::F32));
        let twice = both.with(needed, dtype, shape);
        let says = "say the same thing: keep the one that counts";
        self.program.refuses(
            twice,
            &format!("{} --prefix {LAYER}", self.command),
            says,
        );
    }

    /// Files of other kinds are told by their kind, and what to do with them.
    ///
    /// # Panics
    /// When they are not.
    pub fn names_files_of_other_kinds(&self) {
        let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 7\n";
        for (bytes, says) in [
            (lfs.as_bytes(), "a Git LFS pointer"),
            (b"<!DOCTYPE html><html></html>", "an HTML page"),
            (br#"{"weight_map": {"x": "1.safetensors"}}"#, "the index of a checkpoint"),
            (b"GGUF\x03\0\0\0\x01\0\0\0", "a GGUF file"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch checkpoint"),
        ] {
            let says = format!("cannot read layer as safetensors: it is {says}");
            self.program.refuses(bytes, self.command, &says);
        }
    }

    /// Without the weights, y is the same, to the last places of a sum.
    ///
    /// # Panics
    /// When it is not, or they are written.
    pub fn leaves_the_weights_out(&self) {
        if self.file.shape("x").is_none() {
            self.program.refuses_flags(
                &format!("{} --no-weights", self.command),
                "unexpected argument '--no-weights'",
            );
            return;
        }
        let expected = self.program.writes(&self.file, self.command);
        let lean = format!("{} --no-weights", self.command);
        let found = self.program.writes(&self.file, &lean);
        assert_eq!(found.names(), ["y"]);
        let [found, expected] = [found, expected].map(|file| file.matrix("y").unwrap());
        assert_close("y without weights", &found, &expected, 1e-5);
    }

    /// Masks of PyTorch and Transformers hide what they hide there, or are refused.
    ///
    /// # Panics
    /// When one is passed over.
    pub fn understands_masks_of_others(&self) {
        let Some((&[n, d], _)) = self.file.shape("x") else { return };
        let m = self.file.shape("context").map_or(n, |(shape, _)| shape[0]);
        let mut bare = self.file.clone();
        if bare.shape("mask").is_some() {
            bare = bare.without("mask");
        }
        let crosses = bare.shape("context").is_some();
        let of_keys = if crosses { "encoder_attention_mask" } else { "attention_mask" };
        let ones = |name: &str, bytes: Vec<u8>, shape: &[usize]| {
            let shape = shape.to_vec();
            let mask = RawTensor { dtype: Dtype::BOOL, shape, bytes: bytes.into() };
            bare.clone().with_raw(name, mask)
        };
        let says = "true attends in scaled_dot_product_attention, and hides in";
        let attn_mask = ones("attn_mask", vec![1; n * m], &[n, m]);
        self.program.refuses(attn_mask, self.command, says);

        let all = self.program.writes(&bare, self.command);
        let seen = self.program.writes(ones(of_keys, vec![1; m], &[m]), self.command);
        assert_eq!(seen.raw("y").unwrap(), all.raw("y").unwrap(), "{of_keys}");
        // The first key is hidden from all.
        let first = |hidden, other, count| -> Vec<u8> {
            (0..count).map(|i| if i % m == 0 { hidden } else { other }).collect()
        };
        let mask = ones("mask", first(0, 1, n * m), &[n, m]);
        let expected = self.program.run(mask, self.command);
        for (name, hidden, other) in [("key_padding_mask", 1, 0), (of_keys, 0, 1)] {
            let file = ones(name, first(hidden, other, m), &[m]);
            let found = self.program.run(&file, self.command);
            assert_eq!(found.code, expected.code, "{name}: {found:?}");
            assert_eq!(found.holds("out"), expected.holds("out"), "{name}");
            if found.code != 0 {
                assert!(found.stderr.contains("mask"), "{found:?}");
            }
            let batch = file.f32s("x", &[m + 1, n, d]);
            let says = format!("{name}: shape [{m}], wanted [{}, {m}]", m + 1);
            self.program.refuses(batch, self.command, &says);
        }
    }

    #[track_caller]
    fn answers_as_before(&self, file: &File, command: &str) {
        let expected = self.program.writes(&self.file, self.command);
        let found = self.program.writes(file, command);
        assert_eq!(found.raw("y").unwrap(), expected.raw("y").unwrap(), "{command}");
    }
}
