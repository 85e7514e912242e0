//! Numbers that are known from elsewhere: what DeepSeek-V2 prints, and what the recording
//! has to agree with.

use grouped_query::experiments::per_device;
use latent::Form;
use latent::experiments::{
    self, CACHED, DEEPSEEK, H100, Intensity, LARGE_MHA, LowRank, SCALED, V2, V2_LITE,
    remaining, yarn_temperature,
};

/// 110.6K, as the paper prints it.
fn in_thousands(values: usize) -> String {
    format!("{:.1}K", values as f64 / 1000.0)
}

#[test]
fn table_9_is_reproduced() {
    assert_eq!(in_thousands(V2_LITE.multi_head()), "110.6K");
    assert_eq!(in_thousands(V2_LITE.latent()), "15.6K");
    assert_eq!(in_thousands(LARGE_MHA.multi_head()), "860.2K");
    assert_eq!(in_thousands(V2.latent()), "34.6K");
    // "14 % for small MoE models and 4 % for large": appendix D.2.
    let share =
        |latent: usize, all: usize| (100.0 * latent as f64 / all as f64).round();
    assert_eq!(share(V2_LITE.latent(), V2_LITE.multi_head()), 14.0);
    assert_eq!(share(V2.latent(), LARGE_MHA.multi_head()), 4.0);
}

#[test]
fn table_1_is_reproduced() {
    // Multi-head 2 n_h d_h l, grouped 2 n_g d_h l, multi-query 2 d_h l, latent 9/2 d_h l.
    let (heads, width, layers) = (V2.heads, V2.head_dim, V2.layers);
    assert_eq!(V2.multi_head(), 2 * heads * width * layers);
    assert_eq!(V2.grouped(8), 2 * 8 * width * layers);
    assert_eq!(V2.grouped(1), 2 * width * layers);
    assert_eq!(2 * V2.latent(), 9 * width * layers);
    // "Equal to GQA with only 2.25 groups": §2.1.4.
    assert_eq!(V2.latent() as f64 / V2.grouped(1) as f64, 2.25);
    assert_eq!(V2.latent(), 34_560);
    assert_eq!(DEEPSEEK.kept(), 576);
}

#[test]
fn the_abstract_says_93_3_percent_less() {
    let less =
        remaining().unwrap().map(|(_, share)| format!("{:.1}", 100.0 - 100.0 * share));
    assert_eq!(less, ["82.2", "93.3", "98.2"]);
}

#[test]
fn a_pair_of_tokens_costs_what_the_widths_say() {
    assert_eq!(DEEPSEEK.pair(Form::Naive), 128 + 64 + 128);
    assert_eq!(DEEPSEEK.pair(Form::Absorbed), 512 + 64 + 512);
    // By hand: two new tokens over three, two heads of 1 + 2 and values of 1, latents of 4.
    let sizes = latent::Sizes { heads: 2, nope_dim: 1, rope_dim: 2, v_dim: 1 };
    let shape = experiments::Shape { sizes, lora_rank: 4 };
    let naive = shape.work(Form::Naive, 2, 3);
    assert_eq!(naive.multiply_adds, f64::from(3 * 4 * 4 + 2 * 3 * 2 * 4));
    assert_eq!(naive.numbers, f64::from(4 * 4 + 3 * (6 + 2 * 4)));
    let absorbed = shape.work(Form::Absorbed, 2, 3);
    assert_eq!(absorbed.multiply_adds, f64::from(2 * 4 * 4 + 2 * 3 * 2 * 10));
    assert_eq!(absorbed.numbers, f64::from(4 * 4 + 3 * (6 + 4)));
}

/// Over what was recorded once; nothing is timed here. A count foresees no more than this:
/// how fast a machine reads while it computes, no count knows. The page says how far off
/// the recording is.
#[test]
fn the_recorded_ratio_is_within_a_factor_of_two_of_the_counted_one() {
    for cached in CACHED {
        let ratio = experiments::speedup(cached).unwrap();
        assert!(ratio.off() < 1.0, "{cached}: {ratio:?}");
    }
}

#[test]
fn the_recorded_crossing_is_within_a_factor_of_two_of_the_counted_one() {
    let counted = SCALED.crossing_after(experiments::BEFORE);
    let off = experiments::measured_crossing().unwrap() / counted;
    assert!((0.5..2.0).contains(&off), "{off}");
}

#[test]
fn a_latent_as_wide_as_the_tokens_loses_nothing() {
    let low_rank = LowRank::new(minilm::Layer::load(5).unwrap());
    let errors = low_rank.errors(&[384, usize::MAX, 320]).unwrap();
    assert!(errors[0] < 1e-4 && errors[1] < 1e-4, "{errors:?}");
    assert!(errors[2] > 0.1, "{errors:?}");
}

#[test]
fn every_mistake_shows_and_hides() {
    use experiments::{cut_once, mistaken, scaled_by_nope, small, turned_in_halves};
    let hidden =
        |mistake, sizes, tokens| mistaken(mistake, sizes, tokens).unwrap() < 1e-5;
    assert!(hidden(scaled_by_nope, small(4, 16), 1));
    assert!(hidden(cut_once, small(1, 8), 20));
    assert!(hidden(turned_in_halves, small(4, 2), 20));
    assert!(hidden(turned_in_halves, small(4, 8), 1));
    assert!(!hidden(scaled_by_nope, small(4, 16), 20));
    assert!(!hidden(cut_once, small(2, 8), 20));
    assert!(!hidden(turned_in_halves, small(4, 4), 2));
}

/// Two operations for each of 1,088 multiply-adds of 128 heads, over 576 numbers.
#[test]
fn absorbing_does_hundreds_of_times_the_operations_per_byte() {
    let (absorbed, plain) = (Intensity::absorbed(DEEPSEEK), Intensity::shared(1, 128));
    let by_hand = f64::from(2 * 128 * 1088) / f64::from(576 * 4);
    assert!((absorbed.per_byte(4) - by_hand).abs() < 1e-9);
    assert_eq!(by_hand.round(), 121.0);
    assert_eq!(plain.per_byte(4), 0.5);
    // About twice the number of heads.
    let times = absorbed.per_byte(2) / plain.per_byte(2);
    assert!((0.9..1.0).contains(&(times / 256.0)), "{times}");
    // An H100 is nearly balanced in bf16.
    assert!((0.8..1.0).contains(&(absorbed.per_byte(2) / H100)));
}

/// Llama-3-8B's shape on eight devices. A latent has no heads to divide.
#[test]
fn eight_devices_take_the_cache_of_a_latent_eight_times() {
    assert_eq!(per_device(32, 128, 8), 1024);
    assert_eq!(per_device(8, 128, 8), 256);
    assert_eq!(per_device(1, 128, 8), 256);
    assert!(per_device(8, 128, 2) > DEEPSEEK.kept());
    assert!(per_device(8, 128, 4) < DEEPSEEK.kept());
}

/// `rope_scaling` of the released models: a factor of 40, and `mscale_all_dim`.
#[test]
fn deepseek_multiplies_its_scale_with_the_square_of_mscale() {
    let square = |mscale| format!("{:.2}", yarn_temperature(40.0, mscale).powi(2));
    assert_eq!([square(0.707), square(1.0)], ["1.59", "1.87"]);
    assert_eq!(yarn_temperature(1.0, 1.0), 1.0);
}
