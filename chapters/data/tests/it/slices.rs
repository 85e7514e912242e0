//! The slices hold what the chapters take from them.

use chapter_cli::LinearTensors;
use minilm::{Layer, head, passage, path};
use nalgebra::{DMatrix, DVector};

const MODEL_DIM: usize = 384;

fn refusal<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}

#[test]
fn the_sentence_is_the_one_that_the_pages_quote() {
    let said =
        "[CLS] the animal did not cross the street because it was too tired [SEP]";
    let layer = Layer::load(3).unwrap();
    assert_eq!(layer.tokens.join(" "), said);
    assert_eq!(layer.x.shape(), (14, MODEL_DIM));
}

#[test]
fn a_token_stands_where_it_is_said_first() {
    let layer = Layer::load(0).unwrap();
    let at = |token| layer.position(token).unwrap();
    assert_eq!([at("[CLS]"), at("the"), at("it"), at("[SEP]")], [0, 1, 9, 13]);
    assert_eq!(refusal(layer.position("cat")), "`cat` is not in the sentence");
}

#[test]
fn every_layer_has_twelve_heads_of_32() {
    for layer in (0..6).map(|layer| Layer::load(layer).unwrap()) {
        assert_eq!((layer.heads, layer.head_dim()), (12, 32));
        for all in [&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj] {
            assert_eq!(all.weight.shape(), (MODEL_DIM, MODEL_DIM));
            assert_eq!(all.bias.as_ref().map(DVector::len), Some(MODEL_DIM));
        }
    }
}

#[test]
fn a_layer_that_is_not_kept_is_refused_by_the_name_of_its_file() {
    let error = refusal(Layer::load(6));
    assert!(error.contains("layer-6.safetensors"), "{error}");
}

#[test]
fn the_long_text_enters_the_same_layer() {
    for layer in 0..6 {
        let (long, short) =
            (Layer::with_long_text(layer).unwrap(), Layer::load(layer).unwrap());
        assert_eq!((long.tokens.len(), long.x.shape()), (512, (512, MODEL_DIM)));
        assert_eq!(&long.tokens[..3], ["[CLS]", "alice", "was"]);
        assert_eq!(long.heads, short.heads);
        assert_eq!(long.q_proj.weight, short.q_proj.weight);
    }
}

#[test]
fn the_passage_is_longer_than_the_sentence_and_shorter_than_the_long_text() {
    let (tokens, width) = passage().unwrap().shape();
    assert_eq!(width, MODEL_DIM);
    assert!((14..512).contains(&tokens), "{tokens}");
}

#[test]
fn a_head_is_its_own_columns_with_their_biases() {
    let weight = DMatrix::from_fn(5, 12, |row, column| (100 * row + column) as f32);
    let bias = Some(DVector::from_fn(12, |column, _| column as f32));
    let projection = LinearTensors { weight, bias };
    let (weight, bias) = head(&projection, 2, 3);
    assert_eq!(weight.shape(), (5, 3));
    assert_eq!(
        weight.row(4).iter().copied().collect::<Vec<_>>(),
        [406.0, 407.0, 408.0]
    );
    assert_eq!(bias.unwrap().as_slice(), [6.0, 7.0, 8.0]);
    let unbiased = LinearTensors { bias: None, ..projection };
    assert_eq!(head(&unbiased, 0, 3).1, None);
}

#[test]
fn every_file_that_a_layer_is_read_from_lies_here() {
    for layer in 0..6 {
        for name in ["layer", "long"] {
            let file = path(&format!("{name}-{layer}.safetensors"));
            assert!(file.is_absolute() && file.is_file(), "{}", file.display());
        }
    }
}
