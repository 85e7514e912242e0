//! Training: the whole model there and back, the optimizer by hand, and runs that are the
//! same to the last bit.

use crate::slopes::expect_slope;
use grouped_query::Pooling;
use learning::cross_entropy;
use learning::training::{
    AdamW, Mechanism, Model, Parameter, Run, Schedule, Settings, Shape, Sight, Sizes,
    Task, Variant, born, clipped, experiments, kept, restored,
};
use proptest::prelude::*;
use proptest::property_test;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::fmt::Write;

fn smallest(task: Task, variant: Variant, steps: usize) -> Run {
    let size = 6;
    let settings = Settings {
        task: Some(task),
        size,
        seed: 3,
        steps,
        batch: 6,
        rate: 1e-2,
        decay: 0.01,
        clip: 1.0,
    };
    let shape = Shape::multi_head(task.vocabulary(size), 16, 2, 4);
    let sizes = Sizes { window: 4, ..sizes(task.tokens(size)) };
    Run::new(settings, shape.with(variant, &sizes)).unwrap()
}

fn sizes(tokens: usize) -> Sizes {
    Sizes { kv_heads: 2, window: 3, rank: 6, rope_dim: 2, rows: 4, tokens }
}

/// `model` with these numbers added to its parameters.
fn moved(model: &Model, by: &[f32]) -> Model {
    let mut model = model.clone();
    let parameters = model.parameters();
    let numbers = parameters.into_iter().flat_map(|p| p.numbers.iter_mut());
    numbers.zip(by).for_each(|(number, by)| *number += by);
    model
}

const VARIANTS: [Variant; 10] = [
    Variant::MultiHead,
    Variant::GroupedQuery,
    Variant::MultiQuery,
    Variant::Window,
    Variant::WindowAndFirst,
    Variant::Unscaled,
    Variant::Unmasked,
    Variant::NoPositions,
    Variant::Latent,
    Variant::Linformer,
];

/// A fourth of a step leaves 1/256 of what the slope's formula leaves out.
const SMALLER: f32 = 0.25;

#[test]
fn the_gradient_of_a_whole_model_is_its_slope() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for variant in VARIANTS {
        for tied in [false, true] {
            let shape = Shape::multi_head(12, 8, 2, 4).with(variant, &sizes(8));
            let model = Model::new(Shape { tied, ..shape }, 2).unwrap();
            let tokens = [3, 1, 4, 1, 5, 9, 2, 6];
            let targets =
                [None, Some(4), Some(1), None, Some(9), None, Some(6), Some(5)];
            let judged = 5;
            let mut gradient = model.learn(&tokens, &targets, judged).unwrap().gradient;
            let label = format!("{variant:?}, tied: {tied}");
            // All numbers of a model move at once: together, a smaller step is large.
            for g in &mut gradient {
                *g *= SMALLER;
            }
            expect_slope(&label, &mut rng, &gradient, |by| {
                let by: Vec<f32> = by.iter().map(|by| by * SMALLER).collect();
                let logits = moved(&model, &by).forward(&tokens).unwrap().logits;
                f64::from(cross_entropy(&logits, &targets).unwrap().loss)
            });
        }
    }
}

#[test]
fn models_that_share_keys_stay_as_large() {
    let count = |shape| -> usize {
        let mut model = Model::new(shape, 1).unwrap();
        model.parameters().iter().map(|p| p.numbers.len()).sum()
    };
    let shape = Shape::multi_head(64, 64, 2, 4);
    let all = count(shape.clone());
    for kv_heads in [1, 2, 4] {
        let shared = count(shape.clone().sharing(kv_heads));
        assert!(shared.abs_diff(all) * 200 < all, "{kv_heads}: {shared} of {all}");
    }
    for shape in [
        shape.clone().with(Variant::Latent, &sizes(24)),
        shape.clone().with(Variant::Linformer, &sizes(24)),
        shape.clone().narrow(4).sharing(1),
    ] {
        let other = count(shape.clone());
        assert!(other.abs_diff(all) * 200 < all, "{shape:?}: {other} of {all}");
    }
}

#[test]
fn what_is_kept_of_a_token_is_counted() {
    let shape = Shape::multi_head(32, 32, 2, 4);
    let all = shape.clone().cached();
    assert_eq!([all, shape.clone().sharing(1).cached()], [Some(64), Some(16)]);
    assert_eq!(shape.clone().narrow(2).cached(), Some(16));
    let latent = Mechanism::Latent { rank: 12, rope_dim: 4 };
    assert_eq!(shape.clone().made_by(latent).cached(), Some(16));
    let condensed = Mechanism::Linformer { rows: 8, tokens: 24 };
    assert_eq!(shape.made_by(condensed).cached(), None);
    for experiment in experiments::BY_CACHE {
        let usual = match experiment.variant {
            Variant::MultiHead => 64,
            Variant::GroupedQuery => 32,
            _ => 16,
        };
        let kept = experiment.cache.unwrap_or(usual);
        assert_eq!(experiment.shape().cached(), Some(kept), "{}", experiment.name());
    }
}

#[test]
fn sizes_that_do_not_go_together_are_refused() {
    let refused = |shape| Model::new(shape, 1).unwrap_err().to_string();
    let uneven = refused(Shape::multi_head(8, 10, 1, 4));
    assert_eq!(uneven, "a width of 10 cannot be split among 4 heads");
    let odd = Sizes { rope_dim: 3, ..sizes(8) };
    let latent = refused(Shape::multi_head(8, 16, 1, 4).with(Variant::Latent, &odd));
    assert!(latent.contains('3'), "{latent}");
    let groups = refused(Shape::multi_head(8, 16, 1, 4).sharing(3));
    assert_eq!(groups, "4 query heads cannot form 3 equal groups");
    let model = Model::new(Shape::multi_head(8, 16, 1, 4), 1).unwrap();
    let unknown = model.forward(&[8]).unwrap_err().to_string();
    assert!(unknown.contains("table"), "{unknown}");
}

#[test]
fn a_window_and_the_first_tokens_are_seen() {
    let mask = Sight::Window { window: 2, first: 1 }.mask(5);
    let row = |query| (0..5).filter(|key| mask.sees(query, *key)).collect::<Vec<_>>();
    assert_eq!([row(0), row(1), row(4)], [vec![0], vec![0, 1], vec![0, 3, 4]]);
}

#[test]
fn condensed_keys_have_room_for_so_many_tokens() {
    let shape = Shape::multi_head(8, 16, 1, 4).with(Variant::Linformer, &sizes(4));
    let model = Model::new(shape, 1).unwrap();
    assert_eq!(model.forward(&[1, 2, 3]).unwrap().weights(0)[0].shape(), (3, 4));
    let refused = model.forward(&[1, 2, 3, 4, 5]).unwrap_err().to_string();
    assert_eq!(refused, "5 tokens, but the layer was made for at most 4");
    let refused = model.pooled(1, Pooling::Mean).unwrap_err().to_string();
    assert!(refused.starts_with("only heads with keys"), "{refused}");
}

#[test]
fn adamw_by_hand() {
    let mut matrix = [1.0, -1.0];
    let mut gain = [2.0];
    let mut adamw = AdamW::new(3, 0.5);
    // The means begin at 0, so that the first step is as long as the rate, whatever the
    // gradient is, and a matrix loses rate · decay of itself.
    let parameter = |name: &str, shape, numbers| {
        let name = name.to_owned();
        Parameter { name, shape, numbers }
    };
    let parameters = vec![
        parameter("matrix", (2, 1), &mut matrix[..]),
        parameter("gain", (1, 1), &mut gain[..]),
    ];
    adamw.step(parameters, &[0.01, -100.0, 3.0], 0.1);
    for (found, wanted) in matrix.iter().chain(&gain).zip([0.85_f32, -0.85, 1.9]) {
        assert!((found - wanted).abs() < 1e-5, "{found}, not {wanted}");
    }
    assert!((adamw.first[1] + 10.0).abs() < 1e-4);
    assert!((adamw.second[2] - 0.18).abs() < 1e-4);
}

#[test]
fn a_schedule_rises_and_falls() {
    let schedule = Schedule { peak: 1.0, warm_up: 4, steps: 20 };
    let rates = [0, 3, 4, 12, 20].map(|step| schedule.rate(step));
    for (found, wanted) in rates.into_iter().zip([0.25, 1.0, 1.0, 0.55, 0.1]) {
        assert!((found - wanted).abs() < 1e-6, "{rates:?}");
    }
}

#[test]
fn a_gradient_that_is_too_long_keeps_its_direction() {
    let mut gradient = [3.0, 4.0];
    assert_eq!(clipped(&mut gradient, 10.0), 5.0);
    assert_eq!(gradient, [3.0, 4.0]);
    assert_eq!(clipped(&mut gradient, 1.0), 5.0);
    assert!((gradient[0] - 0.6).abs() < 1e-6 && (gradient[1] - 0.8).abs() < 1e-6);
}

#[property_test]
fn what_is_asked_for_can_be_found(
    #[strategy = prop::sample::select(&[Task::Recall, Task::Copy, Task::Induction][..])]
    task: Task,
    #[strategy = 1..20_usize] size: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    let batch = task.batch(size, seed, 7, 3);
    prop_assert_eq!(&batch, &task.batch(size, seed, 7, 3));
    for example in batch {
        let tokens = &example.tokens;
        let vocabulary = task.vocabulary(size);
        prop_assert!(tokens.iter().all(|token| *token < vocabulary));
        prop_assert_eq!(example.targets.len(), tokens.len());
        for (at, target) in example.targets.iter().enumerate() {
            let Some(target) = *target else { continue };
            let answer = if task == Task::Copy {
                tokens[at - size]
            } else {
                let before = tokens[..at].iter().position(|t| *t == tokens[at]);
                tokens[before.unwrap() + 1]
            };
            prop_assert_eq!(answer, target);
        }
    }
}

#[property_test]
fn longer_sequences_have_the_same_tokens(
    #[strategy = prop::sample::select(&[Task::Recall, Task::Copy, Task::Induction][..])]
    task: Task,
    #[strategy = 2..20_usize] size: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    for example in task.longer_batch(size, seed, 7, 3) {
        prop_assert_eq!(example.tokens.len(), 2 * task.tokens(size));
        let vocabulary = task.vocabulary(size);
        prop_assert!(example.tokens.iter().all(|token| *token < vocabulary));
        let once = &task.batch(size, seed, 7, 1)[0];
        prop_assert_eq!(once.tokens.len(), task.tokens(size));
        let judged = |targets: &[Option<usize>]| targets.iter().flatten().count();
        prop_assert!(judged(&example.targets) > judged(&once.targets));
    }
}

#[test]
fn a_run_is_the_same_to_the_last_bit_on_any_number_of_threads() {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let mut run = smallest(Task::Recall, Variant::GroupedQuery, 6);
            let steps: Vec<_> = (0..6).map(|_| run.step().unwrap()).collect();
            (steps, run)
        })
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn a_run_that_was_cut_goes_on_to_the_last_bit() {
    let mut whole = smallest(Task::Induction, Variant::MultiHead, 9);
    let losses: Vec<_> = (0..9).map(|_| whole.step().unwrap()).collect();

    let mut cut = smallest(Task::Induction, Variant::MultiHead, 9);
    let mut in_two: Vec<_> = (0..4).map(|_| cut.step().unwrap()).collect();
    let file = kept(&mut cut).unwrap();
    drop(cut);
    let mut resumed = restored(&file).unwrap();
    assert_eq!(resumed.taken(), 4);
    in_two.extend((4..9).map(|_| resumed.step().unwrap()));

    assert_eq!(losses, in_two);
    assert_eq!(whole, resumed);
}

#[test]
fn a_file_of_something_else_is_refused() {
    let refused = |bytes: &[u8]| format!("{:#}", restored(bytes).unwrap_err());
    assert!(refused(b"{}").starts_with("not a safetensors file"));
    let other = safetensors::serialize(
        Vec::<(&str, safetensors::tensor::TensorView)>::new(),
        None,
    );
    let said = refused(&other.unwrap());
    assert!(said.contains("train --out"), "{said}");
    let file = kept(&mut smallest(Task::Copy, Variant::Window, 3)).unwrap();
    let renamed = String::from_utf8_lossy(&file).contains("adamw.second");
    assert!(renamed, "both means are kept");
    let mut without = file;
    let at = without.windows(12).position(|bytes| bytes == b"adamw.second").unwrap();
    without[at] = b'b';
    assert!(refused(&without).starts_with("no tensor adamw.second"));
}

#[test]
fn the_smallest_run() {
    let mut told = String::new();
    for task in [Task::Recall, Task::Copy, Task::Induction] {
        for variant in [
            Variant::MultiHead,
            Variant::MultiQuery,
            Variant::Window,
            Variant::Latent,
            Variant::Linformer,
        ] {
            let mut run = smallest(task, variant, 12);
            let losses: Vec<f64> = (0..12).map(|_| run.step().unwrap().loss).collect();
            // Two decimals: the last bits of a processor do not reach them in 12 steps.
            let (first, last) = (losses[0], losses[11]);
            writeln!(told, "{}, {variant:?}: {first:.2} to {last:.2}", task.name())
                .unwrap();
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn every_experiment_is_recorded_with_its_seeds_and_its_origin() {
    let recorded = experiments::recorded().unwrap();
    assert!(recorded.condition("minutes").parse::<f64>().unwrap() > 0.0);
    let all = experiments::experiments().into_iter().chain(experiments::more());
    for experiment in all {
        for what in ["loss", "accuracy"] {
            let case = experiment.case(what);
            let points = recorded.spreads(&case).count();
            assert_eq!(points, experiment.steps / experiments::EVERY, "{case}");
        }
    }
}

#[test]
fn what_was_recorded_is_what_a_run_gives() {
    let recorded = experiments::recorded().unwrap();
    let (task, variant) = (Task::Recall, Variant::MultiQuery);
    let experiment = experiments::Experiment::new(task, variant, experiments::STEPS);
    let first = |seed| -> f64 {
        let mut run = experiment.run(seed).unwrap();
        let losses = (0..experiments::EVERY).map(|_| run.step().unwrap().loss);
        losses.sum::<f64>() / experiments::EVERY as f64
    };
    let mut first = experiments::SEEDS.map(first);
    first.sort_by(f64::total_cmp);
    let case = experiment.case("loss");
    let said = recorded.spread(&case, experiments::EVERY).unwrap();
    // After so few steps another processor's last bits have not grown to this.
    for (found, said) in first.into_iter().zip([said.low, said.median, said.high]) {
        assert!((found - said).abs() < 0.02, "{found}, recorded {said}");
    }
}

#[test]
fn the_figures_of_training_say_where_they_were_recorded() {
    use learning::figures::{cache, induction, recall, uptraining};
    for figure in [recall(), cache(), induction(), uptraining()] {
        let figure = figure.unwrap();
        assert!(figure.svg().contains("3 seeds"), "{}", figure.name());
    }
}

#[test]
fn aligned_heads_give_what_they_gave() {
    for theta in [Some(10_000.0), None] {
        let shape = Shape { theta, ..Shape::multi_head(12, 16, 2, 4) };
        let model = Model::new(shape, 2).unwrap();
        let aligned = model.clone().aligned(2).unwrap();
        assert_ne!(aligned, model);
        let tokens = [3, 1, 4, 1, 5, 9, 2, 6];
        let logits = |model: &Model| model.forward(&tokens).unwrap().logits;
        let apart = (logits(&aligned) - logits(&model)).amax();
        assert!(apart < 1e-4, "{theta:?}: {apart}");
    }
}

/// A half of the sum of squares by which each head is off the mean of its group.
fn off_the_mean(model: &mut Model, name: &str, kv_heads: usize) -> f32 {
    let all = model.parameters();
    let off = |numbers: &[f32]| {
        let group: Vec<_> =
            numbers.chunks_exact(numbers.len() / (4 / kv_heads)).collect();
        let mean = |i: usize| {
            group.iter().map(|head| head[i]).sum::<f32>() / group.len() as f32
        };
        group
            .iter()
            .map(|head| -> f32 {
                head.iter().enumerate().map(|(i, x)| (x - mean(i)).powi(2)).sum()
            })
            .sum::<f32>()
    };
    let projections = all.iter().filter(|p| p.name.contains(name));
    let groups =
        projections.flat_map(|p| p.numbers.chunks_exact(p.numbers.len() / kv_heads));
    groups.map(off).sum()
}

#[test]
fn aligned_heads_are_nearer_to_their_mean() {
    let mut model = Model::new(Shape::multi_head(12, 16, 2, 4), 2).unwrap();
    let mut aligned = model.clone().aligned(1).unwrap();
    for name in ["k_proj", "v_proj"] {
        let (before, after) =
            (off_the_mean(&mut model, name, 1), off_the_mean(&mut aligned, name, 1));
        assert!(after < 0.95 * before, "{name}: {after}, {before}");
    }
}

#[test]
fn stretches_slow_rotations_down() {
    let shape = Shape::multi_head(12, 32, 2, 4);
    let frequencies = |stretch: &str| {
        let rotary = experiments::stretched(&shape, 24, stretch).unwrap();
        (rotary.frequencies_at(48).to_vec(), rotary.amplitude())
    };
    let (as_it_is, amplitude) = frequencies("as it is");
    assert_eq!(amplitude, 1.0);
    let ratios = |stretch: &str| -> Vec<f32> {
        let (found, _) = frequencies(stretch);
        let ratios = found.iter().zip(&as_it_is).map(|(found, was)| found / was);
        ratios.map(|ratio| (ratio * 100.0).round() / 100.0).collect()
    };
    assert_eq!(ratios("interpolated"), [0.5; 4]);
    // The base grows so that the slowest pair turns half as fast.
    assert_eq!(ratios("NTK-aware"), [1.0, 0.79, 0.63, 0.5]);
    // Within 24 tokens the second pair does not turn once.
    assert_eq!(ratios("YaRN"), [1.0, 0.5, 0.5, 0.5]);
    assert!((frequencies("YaRN").1 - 1.0693).abs() < 1e-4);
    for experiment in experiments::LONGER {
        for stretch in experiments::STRETCHES {
            let run = experiment.run(1).unwrap();
            let rotary =
                experiments::stretched(run.model.shape(), 24, stretch).unwrap();
            let same = run.model.clone().rotated(&rotary).unwrap() == run.model;
            assert_eq!(same, stretch == "as it is", "{stretch}");
        }
    }
}

#[test]
fn a_mask_that_is_put_back_hides_what_follows() {
    let run = smallest(Task::Copy, Variant::Unmasked, 1);
    let sees = |model: &Model| model.forward(&[1, 2, 3]).unwrap().weights(0)[0][(0, 2)];
    assert!(sees(&run.model) > 0.0);
    assert_eq!(sees(&experiments::masked_again(run.model)), 0.0);
}

#[test]
fn a_look_finds_the_token_before_and_the_one_that_followed() {
    let look =
        born::Look::at(&smallest(Task::Induction, Variant::MultiHead, 1)).unwrap();
    // A model that has learned nothing looks nearly everywhere alike.
    for share in look.previous.iter().chain(&look.followed) {
        assert!((0.01..0.6).contains(share), "{look:?}");
    }
    let (rows, maps) = born::told(&[(50, 1.5)], &[(0, look.clone()), (50, look)]);
    assert!(rows.starts_with("born loss,50,1.5000,1.5000,1.5000,1,"), "{rows}");
    assert!(maps.starts_with("step,head,query,weights"), "{maps}");
}

#[test]
fn pooled_heads_are_fewer_and_everything_else_stays() {
    let model = Model::new(Shape::multi_head(12, 16, 2, 4), 2).unwrap();
    let same = model.clone().pooled(4, Pooling::Mean).unwrap();
    assert_eq!(same, model);
    let mut half = model.clone().pooled(2, Pooling::First).unwrap();
    assert_eq!(half.shape().kv_heads, 2);
    let (mut model, mut changed) = (model, Vec::new());
    for (before, after) in model.parameters().into_iter().zip(half.parameters()) {
        assert_eq!(before.name, after.name);
        if before.numbers != after.numbers {
            // Column after column: heads 0 and 2 of the four are the first of a group.
            let head = before.numbers.len() / 4;
            assert_eq!(after.numbers[..head], before.numbers[..head]);
            assert_eq!(after.numbers[head..], before.numbers[2 * head..3 * head]);
            changed
                .push(before.name.contains("k_proj") || before.name.contains("v_proj"));
        }
    }
    assert_eq!(changed, [true; 4]);
    let refused = half.pooled(3, Pooling::Mean).unwrap_err().to_string();
    assert_eq!(refused, "2 query heads cannot form 3 equal groups");
}
