//! Training: the whole model there and back, the optimizer by hand, and runs that are the
//! same to the last bit.

use crate::slopes::expect_slope;
use grouped_query::Pooling;
use learning::cross_entropy;
use learning::training::{
    AdamW, Model, Parameter, Run, Schedule, Settings, Shape, Sight, Task, Variant,
    clipped, experiments, kept, restored,
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
    Run::new(settings, shape.with(variant, 2, 4)).unwrap()
}

/// `model` with these numbers added to its parameters.
fn moved(model: &Model, by: &[f32]) -> Model {
    let mut model = model.clone();
    let parameters = model.parameters();
    let numbers = parameters.into_iter().flat_map(|p| p.numbers.iter_mut());
    numbers.zip(by).for_each(|(number, by)| *number += by);
    model
}

const VARIANTS: [Variant; 8] = [
    Variant::MultiHead,
    Variant::GroupedQuery,
    Variant::MultiQuery,
    Variant::Window,
    Variant::WindowAndFirst,
    Variant::Unscaled,
    Variant::Unmasked,
    Variant::NoPositions,
];

/// A fourth of a step leaves 1/256 of what the slope's formula leaves out.
const SMALLER: f32 = 0.25;

#[test]
fn the_gradient_of_a_whole_model_is_its_slope() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for variant in VARIANTS {
        for tied in [false, true] {
            let shape = Shape::multi_head(12, 8, 2, 4).with(variant, 2, 3);
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
}

#[test]
fn sizes_that_do_not_go_together_are_refused() {
    let refused = |shape| Model::new(shape, 1).unwrap_err().to_string();
    let uneven = refused(Shape::multi_head(8, 10, 1, 4));
    assert_eq!(uneven, "a width of 10 cannot be split among 4 heads");
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
        for variant in [Variant::MultiHead, Variant::MultiQuery, Variant::Window] {
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
    for experiment in experiments::experiments() {
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
    let experiment =
        experiments::Experiment { task, variant, steps: experiments::STEPS };
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
    use learning::figures::{induction, recall, uptraining};
    for figure in [recall(), induction(), uptraining()] {
        let figure = figure.unwrap();
        assert!(figure.svg().contains("3 seeds"), "{}", figure.name());
    }
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
