//! The slips of attention in heads, each with what is said of it, and the search for the
//! one or two that an answer is made of.

use crate::{
    heads::{Cut, Maps, Mix, Place, Roles, Scale, Seen, Way},
    shares::{Shares, Tiling},
};

/// One thing done otherwise.
pub struct Slip {
    /// As a mistake is called.
    pub name: &'static str,
    /// What is done, so that it holds of whoever did it.
    pub says: &'static str,
    /// Makes it.
    pub make: fn(&mut Way),
}

const fn slip(name: &'static str, make: fn(&mut Way), says: &'static str) -> Slip {
    Slip { name, says, make }
}

const A_NUMBER: &str = "Hidden scores are a number below zero, where -inf is wanted: a \
    query with every key hidden looks at all of them equally, and where other scores lie \
    lower still, hidden keys take weight.";

/// Other numbers in its place: they are as wrong, and tried by themselves.
const OTHER_NUMBERS: &[Slip] = &[
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(10), A_NUMBER),
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(20), A_NUMBER),
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(30), A_NUMBER),
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(50), A_NUMBER),
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(100), A_NUMBER),
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(1_000), A_NUMBER),
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(10_000), A_NUMBER),
];

/// Of all heads alike: also where there is one head.
const OF_ATTENTION: &[Slip] = &[
    slip(
        "unscaled",
        |way| way.scale = Scale::Unscaled,
        "Your rows are too sharp: the scores are not divided by √d_k, the root of a \
         head's width.",
    ),
    slip(
        "over-d-k",
        |way| way.scale = Scale::OverWidth,
        "Your rows are too flat: the scores are divided by d_k itself, or by its root \
         twice. `attend` and `scores` divide already.",
    ),
    slip(
        "times-root",
        |way| way.scale = Scale::TimesRoot,
        "Your rows are too sharp: the scores are multiplied by √d_k, and not divided \
         by it.",
    ),
    slip(
        "over-root-of-values",
        |way| way.scale = Scale::OverRootOfValues,
        "Your scores are divided by the root of a value's width, and not by that of a \
         key's.",
    ),
    slip(
        "over-root-of-keys",
        |way| way.scale = Scale::OverRootOfKeys,
        "Your scores are divided by the root of the number of keys, and not by that of \
         their width.",
    ),
    slip(
        "over-root-of-queries",
        |way| way.scale = Scale::OverRootOfQueries,
        "Your scores are divided by the root of the number of queries, and not by that \
         of their width.",
    ),
    slip(
        "over-root-of-keys-too",
        |way| way.scale = Scale::OverRootOfKeysToo,
        "Your rows are too flat: the scores are divided by √d_k, and by the root of the \
         number of keys as well.",
    ),
    slip(
        "halved",
        |way| way.scale = Scale::Halved,
        "Your rows are too flat: the scores are half of what they should be.",
    ),
    slip(
        "doubled",
        |way| way.scale = Scale::Doubled,
        "Your rows are too sharp: the scores are twice what they should be.",
    ),
    slip(
        "over-root-cubed",
        |way| way.scale = Scale::OverRootCubed,
        "Your rows are too flat: the scores are divided by √d_k three times.",
    ),
    slip(
        "over-root-of-values-too",
        |way| way.scale = Scale::OverRootOfValuesToo,
        "Your rows are too flat: the scores are divided by √d_k, and by the root of a \
         value's width as well.",
    ),
    slip(
        "root-rounded",
        |way| way.scale = Scale::OverRootRounded,
        "Your scores are divided by a whole number: the root of d_k lost what comes \
         after its point.",
    ),
    slip(
        "sign-turned",
        |way| way.scale = Scale::Negative,
        "Your queries look most at what fits them least: the scores have the opposite \
         sign.",
    ),
    slip(
        "over-fourth-root",
        |way| way.scale = Scale::OverFourthRoot,
        "Your rows are too sharp: the scores are divided by the fourth root of d_k, the \
         root of its root.",
    ),
    slip(
        "over-keys",
        |way| way.scale = Scale::OverKeys,
        "Your scores are divided by the number of keys, and not by the root of their \
         width.",
    ),
    slip(
        "no-mask",
        |way| way.seen = Seen::Everything,
        "Your queries see everything: the mask is left out, or its offset is so large \
         that it hides nothing.",
    ),
    slip(
        "always-causal",
        |way| way.seen = Seen::AlwaysCausal,
        "Your queries attend under one causal mask with offset 0, whatever mask is \
         given.",
    ),
    slip(
        "offset-forgotten",
        |way| way.seen = Seen::OffsetForgotten,
        "Right while the offset of the causal mask is 0. Where keys stand before the \
         first query, your queries see too few: the offset is left out.",
    ),
    slip(
        "allowed-forgotten",
        |way| way.seen = Seen::AllowedForgotten,
        "A causal mask is obeyed, and `Allowed` is not: it hides nothing.",
    ),
    slip(
        "causal-forgotten",
        |way| way.seen = Seen::CausalForgotten,
        "`Allowed` is obeyed, and a causal mask is not: your queries see the future.",
    ),
    slip(
        "offset-and-allowed-forgotten",
        |way| way.seen = Seen::OffsetAndAllowedForgotten,
        "Only one mask works, `Causal` with offset 0: keys before the first query are \
         not counted, and `Allowed` hides nothing.",
    ),
    slip(
        "one-future-token",
        |way| way.seen = Seen::OneFuture,
        "Under a causal mask, each of your queries sees one key too many, the next one: \
         the offset is larger by one than it should be, or the comparison lets the \
         equal through.",
    ),
    slip(
        "not-even-itself",
        |way| way.seen = Seen::NotItself,
        "Under a causal mask, each of your queries sees one key too few: it does not \
         see its own.",
    ),
    slip(
        "offset-one-less",
        |way| way.seen = Seen::OffsetOneLess,
        "Under a causal mask whose offset is not 0, each of your queries sees one key \
         too few: the offset is smaller by one than it should be.",
    ),
    slip(
        "offset-twice",
        |way| way.seen = Seen::OffsetTwice,
        "Your queries see too much as soon as the offset is not 0: it is added twice.",
    ),
    slip(
        "offset-alone",
        |way| way.seen = Seen::OffsetAlone,
        "Under a causal mask, all of your queries see the same keys, the first \
         offset + 1: the query's own index is missing.",
    ),
    slip(
        "first-key-missing",
        |way| way.seen = Seen::NotTheFirst,
        "Your queries do not see the first key.",
    ),
    slip(
        "last-key-missing",
        |way| way.seen = Seen::NotTheLast,
        "Your queries do not see the last key.",
    ),
    slip(
        "mask-turned",
        |way| way.seen = Seen::Turned,
        "Your mask is turned over: the query and the key have changed places in it.",
    ),
    slip(
        "true-hides",
        |way| way.seen = Seen::TrueHides,
        "`Allowed` hides what it should keep: `true` means that the query may look.",
    ),
    slip(
        "upside-down",
        |way| way.seen = Seen::Past,
        "Your causal mask hides the past and keeps the future: it is upside down.",
    ),
    slip(
        "first-row-for-all",
        |way| way.seen = Seen::FirstRowForAll,
        "All of your queries see what the first may see: the mask is asked about query \
         0 each time.",
    ),
    slip(
        "last-row-for-all",
        |way| way.seen = Seen::LastRowForAll,
        "All of your queries see what the last may see: the mask is asked about the last \
         query each time.",
    ),
    slip(
        "mask-after-softmax",
        |way| way.seen = Seen::AfterSoftmax,
        "Hidden weights are 0, and the rows of a masked query sum to less than one: the \
         mask comes after softmax, when the shares are already given out.",
    ),
    slip(
        "masked-and-shared-anew",
        |way| way.seen = Seen::AfterSoftmaxSharedAnew,
        "The mask comes after softmax, and rows are divided by what is left of them: right \
         until a hidden score is so large that nothing is left for the others. Hide before \
         softmax.",
    ),
    slip(
        "mask-in-the-average-alone",
        |way| way.seen = Seen::InTheAverageAlone,
        "Your queries see what the mask hides: only the average of the values knows of \
         the mask, and the scores are not hidden before softmax.",
    ),
    slip(
        "hidden-with-zero",
        |way| way.seen = Seen::Zeros,
        "Hidden scores are 0, and exp(0) is 1, so that hidden keys still take weight: \
         hide with -inf.",
    ),
    slip("hidden-with-a-number", |way| way.seen = Seen::Below(1_000_000_000), A_NUMBER),
    slip(
        "hidden-with-inf-after-softmax",
        |way| way.seen = Seen::InfinityAfterSoftmax,
        "Hidden weights are -inf: the mask comes after softmax, and belongs before it, on \
         the scores.",
    ),
    slip(
        "from-the-end",
        |way| way.seen = Seen::FromTheEnd,
        "Under a causal mask, your last query sees all keys, and so on back from there: \
         the offset that is given does not count.",
    ),
    slip(
        "offset-subtracted",
        |way| way.seen = Seen::OffsetSubtracted,
        "Where the offset of a causal mask is not 0, your queries see too few keys: it is \
         subtracted, and should be added.",
    ),
    slip(
        "own-key-alone",
        |way| way.seen = Seen::OwnKeyAlone,
        "Under a causal mask, each of your queries sees its own key alone.",
    ),
    slip(
        "none-is-causal",
        |way| way.seen = Seen::NoneIsCausal,
        "Without a mask, your queries attend under a causal one.",
    ),
    slip(
        "causal-too",
        |way| way.seen = Seen::CausalToo,
        "The future is hidden whatever mask is given: a causal mask with offset 0 comes on \
         top of it.",
    ),
    slip(
        "allowed-and-causal",
        |way| way.seen = Seen::AllowedAndCausal,
        "Under `Allowed`, the future is hidden as well.",
    ),
    slip(
        "hidden-with-nan",
        |way| way.seen = Seen::NotNumbers,
        "Hidden scores are NaN, and so is every row that has one: hide with -inf.",
    ),
    slip(
        "down-the-columns",
        |way| way.shares = Shares::ByColumns,
        "Your columns sum to one, and your rows do not: softmax runs along the wrong \
         axis.",
    ),
    slip(
        "over-the-whole-map",
        |way| way.shares = Shares::OverTheWholeMap,
        "All weights of a map together sum to one: softmax runs over the whole map, and \
         not row by row.",
    ),
    slip(
        "softmax-twice",
        |way| way.shares = Shares::Twice,
        "Your rows are too flat: softmax is taken of what softmax gave.",
    ),
    slip(
        "no-softmax",
        |way| way.shares = Shares::Missing,
        "Your weights are scores: softmax is missing.",
    ),
    slip(
        "not-divided",
        |way| way.shares = Shares::NotDivided,
        "The largest weight of each row is 1, and the others come on top: the \
         exponentials are not divided by their sum.",
    ),
    slip(
        "no-exponential",
        |way| way.shares = Shares::NotExponential,
        "Your weights are in proportion to the scores: exp is missing.",
    ),
    slip(
        "no-maximum",
        |way| way.shares = Shares::NoMaximum,
        "Right while scores are small, and NaN where they are not: exp is taken without \
         subtracting the row's maximum. A row that is hidden throughout is 0/0, too.",
    ),
    slip(
        "no-maximum-but-guarded",
        |way| way.shares = Shares::NoMaximumGuarded,
        "Right while scores are small. Large ones give NaN, and those far below zero \
         give zeros: exp is taken without subtracting the row's maximum.",
    ),
    slip(
        "maximum-from-zero",
        |way| way.shares = Shares::FromZero,
        "A row of scores far below zero has lost its weights: the search for its maximum \
         begins at 0, or such scores count as hidden.",
    ),
    slip(
        "one-maximum-for-all",
        |way| way.shares = Shares::OneMaximumForAll,
        "A row whose scores lie far below another row's has lost its weights: the \
         maximum of the whole map is subtracted, and not each row's own.",
    ),
    slip(
        "nan-where-all-is-hidden",
        |way| way.shares = Shares::Unguarded,
        "A query with every key hidden gets NaN: 0/0, or -inf - (-inf). It should get \
         zeros.",
    ),
    slip(
        "equal-where-all-is-hidden",
        |way| way.shares = Shares::EqualWhereHidden,
        "A query with every key hidden looks at all of them equally. It may look at \
         nothing, so its row is zeros.",
    ),
    slip(
        "powers-of-two",
        |way| way.shares = Shares::PowersOfTwo,
        "Your rows are too flat, as if all scores were multiplied by 0.69: powers of 2 \
         are taken in place of powers of e.",
    ),
    slip(
        "equal-weights",
        |way| way.shares = Shares::Equal,
        "Each query looks at all keys that it sees equally: the scores do not count.",
    ),
    slip(
        "largest-alone",
        |way| way.shares = Shares::LargestIsOne,
        "Each query looks at its best key alone, with a weight of 1: softmax shares the \
         weight among all.",
    ),
    slip(
        "over-the-number-of-keys",
        |way| way.shares = Shares::OverKeys,
        "Your exponentials are divided by the number of keys, and not by their sum.",
    ),
    slip(
        "columns-too",
        |way| way.shares = Shares::ColumnsToo,
        "Your columns sum to one, and your rows do not: after softmax, each column was \
         divided by its sum as well.",
    ),
    slip(
        "values-by-columns",
        |way| way.mix = Mix::ByColumns,
        "Your weights are right, and the values are mixed by their columns: the product \
         takes the transposed map.",
    ),
    slip(
        "hidden-nan-leaks",
        |way| way.mix = Mix::Leaking,
        "A NaN in a value that the mask hides is in your output: 0 times NaN is NaN. \
         `average` leaves such values out.",
    ),
    slip(
        "plain-mean",
        |way| way.mix = Mix::Mean,
        "Your output is the plain mean of the values: the weights are not used.",
    ),
    slip(
        "best-value-alone",
        |way| way.mix = Mix::Largest,
        "Your output is the value with the largest weight, and not the weighted mean of \
         all.",
    ),
    slip(
        "plain-sum",
        |way| way.mix = Mix::Summed,
        "Your output is the plain sum of the values: the weights are not used.",
    ),
    slip(
        "averaged-again",
        |way| way.mix = Mix::OverKeys,
        "Your weights are right, and the average of the values is divided by the number \
         of keys: weights sum to one already.",
    ),
    slip(
        "output-over-root",
        |way| way.mix = Mix::OverRoot,
        "Your weights are right, and the average of the values is divided by the root of \
         a value's width: only scores are scaled.",
    ),
    slip(
        "keys-and-values-swapped",
        |way| way.roles = Roles::KeysAndValuesSwapped,
        "K and V have changed places: the queries are compared with values, and keys are \
         averaged. Where the widths differ, nothing fits.",
    ),
    slip(
        "queries-and-keys-swapped",
        |way| way.roles = Roles::QueriesAndKeysSwapped,
        "Q and K have changed places: the keys ask, and the queries are asked. Where \
         there are not as many of them, nothing fits.",
    ),
    slip(
        "values-as-keys",
        |way| way.roles = Roles::ValuesAsKeys,
        "Your queries are compared with the values: V stands where K belongs. Where the \
         widths differ, nothing fits.",
    ),
    slip(
        "keys-as-values",
        |way| way.roles = Roles::KeysAsValues,
        "Your weights are right, and what they average is keys: K stands where V \
         belongs.",
    ),
    slip(
        "queries-as-keys",
        |way| way.roles = Roles::QueriesAsKeys,
        "Your queries are compared with each other: Q stands where K belongs.",
    ),
    slip(
        "keys-as-queries",
        |way| way.roles = Roles::KeysAsQueries,
        "Your keys are compared with each other: K stands where Q belongs.",
    ),
    slip(
        "new-keys-as-queries",
        |way| way.roles = Roles::NewKeysAsQueries,
        "The keys of the new tokens ask: K stands where Q belongs.",
    ),
    slip(
        "maps-transposed",
        |way| way.maps = Maps::Transposed,
        "The weights that you give back are transposed, one row per key.",
    ),
    slip(
        "scores-for-weights",
        |way| way.maps = Maps::Scores,
        "Your output is right, and what you give back beside it is the scores, as they \
         were before softmax.",
    ),
    slip(
        "plain-scores-for-weights",
        |way| way.maps = Maps::ScoresUnmasked,
        "Your output is right, and what you give back beside it is the scores, as they \
         were before mask and softmax.",
    ),
    slip(
        "mask-forgotten-in-weights",
        |way| way.maps = Maps::Unmasked,
        "Your output is right, and the weights beside it are those without the mask.",
    ),
];

/// Of a window that moves with the query.
const OF_WINDOWS: &[Slip] = &[
    slip(
        "window-forgotten",
        |way| way.seen = Seen::WindowForgotten,
        "Your queries see everything before them: the window is left out.",
    ),
    slip(
        "window-one-more",
        |way| way.seen = Seen::WindowOneMore,
        "Each of your queries sees one key too many: a window of W counts the query's own \
         key, and yours counts W before it.",
    ),
    slip(
        "window-one-less",
        |way| way.seen = Seen::WindowOneLess,
        "Each of your queries sees one key too few: a window of W is the query's own key \
         and the W - 1 before it.",
    ),
    slip(
        "window-on-both-sides",
        |way| way.seen = Seen::WindowOfBothSides,
        "Your window lies on both sides of the query: it sees W - 1 keys of the future, too.",
    ),
    slip(
        "window-without-future-hidden",
        |way| way.seen = Seen::WindowAlone,
        "Your window hides the far past, and the future is not hidden.",
    ),
    slip(
        "window-in-blocks",
        |way| way.seen = Seen::WindowInBlocks,
        "Your window does not move with the query: texts are cut into blocks of W, and a \
         query sees its own block alone.",
    ),
];

const TILE_SUM_NOT_RESCALED: &str = "The running sum is not multiplied when the maximum grows: right while the largest \
     score is in the first tile.";

const TILE_OUTPUT_NOT_RESCALED: &str = "The running output is not multiplied when the maximum grows: right while the \
     largest score is in the first tile.";

const TILES_NOT_RESCALED: &str = "Neither the running sum nor the running output is multiplied when the maximum \
     grows: earlier tiles weigh too much.";

const DIVIDED_IN_EACH_TILE: &str = "Each tile is divided by its own sum, and the averages are averaged: tiles are merged \
     by their sums.";

const LAST_TILE_ALONE: &str =
    "Only the last tile of keys is in the output: each tile begins anew.";

const LAST_TILE_OF_ZEROS: &str =
    "The last tile is filled up with keys of zeros, and a score of 0 takes weight.";

const LAST_TILE_LEFT_OUT: &str = "The keys after the last whole tile are left out.";

const DIAGONAL_OF_TILES: &str = "The causal mask hides whole tiles alone: inside of the tile on the diagonal, \
     queries see the future.";

/// Of keys that are taken in tiles, of all usual sizes.
const OF_TILES: &[Slip] = &[
    slip(
        "tile-sum-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::SumNotRescaled, 2),
        TILE_SUM_NOT_RESCALED,
    ),
    slip(
        "tile-sum-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::SumNotRescaled, 4),
        TILE_SUM_NOT_RESCALED,
    ),
    slip(
        "tile-sum-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::SumNotRescaled, 8),
        TILE_SUM_NOT_RESCALED,
    ),
    slip(
        "tile-sum-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::SumNotRescaled, 16),
        TILE_SUM_NOT_RESCALED,
    ),
    slip(
        "tile-sum-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::SumNotRescaled, 32),
        TILE_SUM_NOT_RESCALED,
    ),
    slip(
        "tile-sum-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::SumNotRescaled, 64),
        TILE_SUM_NOT_RESCALED,
    ),
    slip(
        "tile-sum-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::SumNotRescaled, 128),
        TILE_SUM_NOT_RESCALED,
    ),
    slip(
        "tile-output-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::OutputNotRescaled, 2),
        TILE_OUTPUT_NOT_RESCALED,
    ),
    slip(
        "tile-output-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::OutputNotRescaled, 4),
        TILE_OUTPUT_NOT_RESCALED,
    ),
    slip(
        "tile-output-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::OutputNotRescaled, 8),
        TILE_OUTPUT_NOT_RESCALED,
    ),
    slip(
        "tile-output-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::OutputNotRescaled, 16),
        TILE_OUTPUT_NOT_RESCALED,
    ),
    slip(
        "tile-output-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::OutputNotRescaled, 32),
        TILE_OUTPUT_NOT_RESCALED,
    ),
    slip(
        "tile-output-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::OutputNotRescaled, 64),
        TILE_OUTPUT_NOT_RESCALED,
    ),
    slip(
        "tile-output-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::OutputNotRescaled, 128),
        TILE_OUTPUT_NOT_RESCALED,
    ),
    slip(
        "tiles-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::NothingRescaled, 2),
        TILES_NOT_RESCALED,
    ),
    slip(
        "tiles-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::NothingRescaled, 4),
        TILES_NOT_RESCALED,
    ),
    slip(
        "tiles-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::NothingRescaled, 8),
        TILES_NOT_RESCALED,
    ),
    slip(
        "tiles-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::NothingRescaled, 16),
        TILES_NOT_RESCALED,
    ),
    slip(
        "tiles-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::NothingRescaled, 32),
        TILES_NOT_RESCALED,
    ),
    slip(
        "tiles-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::NothingRescaled, 64),
        TILES_NOT_RESCALED,
    ),
    slip(
        "tiles-not-rescaled",
        |way| way.shares = Shares::Tiled(Tiling::NothingRescaled, 128),
        TILES_NOT_RESCALED,
    ),
    slip(
        "divided-in-each-tile",
        |way| way.shares = Shares::Tiled(Tiling::EachDivided, 2),
        DIVIDED_IN_EACH_TILE,
    ),
    slip(
        "divided-in-each-tile",
        |way| way.shares = Shares::Tiled(Tiling::EachDivided, 4),
        DIVIDED_IN_EACH_TILE,
    ),
    slip(
        "divided-in-each-tile",
        |way| way.shares = Shares::Tiled(Tiling::EachDivided, 8),
        DIVIDED_IN_EACH_TILE,
    ),
    slip(
        "divided-in-each-tile",
        |way| way.shares = Shares::Tiled(Tiling::EachDivided, 16),
        DIVIDED_IN_EACH_TILE,
    ),
    slip(
        "divided-in-each-tile",
        |way| way.shares = Shares::Tiled(Tiling::EachDivided, 32),
        DIVIDED_IN_EACH_TILE,
    ),
    slip(
        "divided-in-each-tile",
        |way| way.shares = Shares::Tiled(Tiling::EachDivided, 64),
        DIVIDED_IN_EACH_TILE,
    ),
    slip(
        "divided-in-each-tile",
        |way| way.shares = Shares::Tiled(Tiling::EachDivided, 128),
        DIVIDED_IN_EACH_TILE,
    ),
    slip(
        "last-tile-alone",
        |way| way.shares = Shares::Tiled(Tiling::LastTileAlone, 2),
        LAST_TILE_ALONE,
    ),
    slip(
        "last-tile-alone",
        |way| way.shares = Shares::Tiled(Tiling::LastTileAlone, 4),
        LAST_TILE_ALONE,
    ),
    slip(
        "last-tile-alone",
        |way| way.shares = Shares::Tiled(Tiling::LastTileAlone, 8),
        LAST_TILE_ALONE,
    ),
    slip(
        "last-tile-alone",
        |way| way.shares = Shares::Tiled(Tiling::LastTileAlone, 16),
        LAST_TILE_ALONE,
    ),
    slip(
        "last-tile-alone",
        |way| way.shares = Shares::Tiled(Tiling::LastTileAlone, 32),
        LAST_TILE_ALONE,
    ),
    slip(
        "last-tile-alone",
        |way| way.shares = Shares::Tiled(Tiling::LastTileAlone, 64),
        LAST_TILE_ALONE,
    ),
    slip(
        "last-tile-alone",
        |way| way.shares = Shares::Tiled(Tiling::LastTileAlone, 128),
        LAST_TILE_ALONE,
    ),
    slip(
        "last-tile-of-zeros",
        |way| way.shares = Shares::Tiled(Tiling::ZerosInTheLast, 2),
        LAST_TILE_OF_ZEROS,
    ),
    slip(
        "last-tile-of-zeros",
        |way| way.shares = Shares::Tiled(Tiling::ZerosInTheLast, 4),
        LAST_TILE_OF_ZEROS,
    ),
    slip(
        "last-tile-of-zeros",
        |way| way.shares = Shares::Tiled(Tiling::ZerosInTheLast, 8),
        LAST_TILE_OF_ZEROS,
    ),
    slip(
        "last-tile-of-zeros",
        |way| way.shares = Shares::Tiled(Tiling::ZerosInTheLast, 16),
        LAST_TILE_OF_ZEROS,
    ),
    slip(
        "last-tile-of-zeros",
        |way| way.shares = Shares::Tiled(Tiling::ZerosInTheLast, 32),
        LAST_TILE_OF_ZEROS,
    ),
    slip(
        "last-tile-of-zeros",
        |way| way.shares = Shares::Tiled(Tiling::ZerosInTheLast, 64),
        LAST_TILE_OF_ZEROS,
    ),
    slip(
        "last-tile-of-zeros",
        |way| way.shares = Shares::Tiled(Tiling::ZerosInTheLast, 128),
        LAST_TILE_OF_ZEROS,
    ),
    slip(
        "last-tile-left-out",
        |way| way.shares = Shares::Tiled(Tiling::LastLeftOut, 2),
        LAST_TILE_LEFT_OUT,
    ),
    slip(
        "last-tile-left-out",
        |way| way.shares = Shares::Tiled(Tiling::LastLeftOut, 4),
        LAST_TILE_LEFT_OUT,
    ),
    slip(
        "last-tile-left-out",
        |way| way.shares = Shares::Tiled(Tiling::LastLeftOut, 8),
        LAST_TILE_LEFT_OUT,
    ),
    slip(
        "last-tile-left-out",
        |way| way.shares = Shares::Tiled(Tiling::LastLeftOut, 16),
        LAST_TILE_LEFT_OUT,
    ),
    slip(
        "last-tile-left-out",
        |way| way.shares = Shares::Tiled(Tiling::LastLeftOut, 32),
        LAST_TILE_LEFT_OUT,
    ),
    slip(
        "last-tile-left-out",
        |way| way.shares = Shares::Tiled(Tiling::LastLeftOut, 64),
        LAST_TILE_LEFT_OUT,
    ),
    slip(
        "last-tile-left-out",
        |way| way.shares = Shares::Tiled(Tiling::LastLeftOut, 128),
        LAST_TILE_LEFT_OUT,
    ),
    slip(
        "diagonal-of-tiles",
        |way| way.seen = Seen::TileDiagonal(2),
        DIAGONAL_OF_TILES,
    ),
    slip(
        "diagonal-of-tiles",
        |way| way.seen = Seen::TileDiagonal(4),
        DIAGONAL_OF_TILES,
    ),
    slip(
        "diagonal-of-tiles",
        |way| way.seen = Seen::TileDiagonal(8),
        DIAGONAL_OF_TILES,
    ),
    slip(
        "diagonal-of-tiles",
        |way| way.seen = Seen::TileDiagonal(16),
        DIAGONAL_OF_TILES,
    ),
    slip(
        "diagonal-of-tiles",
        |way| way.seen = Seen::TileDiagonal(32),
        DIAGONAL_OF_TILES,
    ),
    slip(
        "diagonal-of-tiles",
        |way| way.seen = Seen::TileDiagonal(64),
        DIAGONAL_OF_TILES,
    ),
    slip(
        "diagonal-of-tiles",
        |way| way.seen = Seen::TileDiagonal(128),
        DIAGONAL_OF_TILES,
    ),
];

/// The heads of one matrix taken from other columns than their own.
macro_rules! cuts {
    ($field:ident, $part:literal, $matrix:literal, $other:literal) => {
        [
            slip(
                concat!($part, "-of-the-first-head"),
                |way| way.$field = Cut::First,
                concat!(
                    "All of your heads take the first head's ",
                    $part,
                    ": the columns of ",
                    $matrix,
                    " do not move on from head to head."
                ),
            ),
            slip(
                concat!($part, "-of-the-last-head"),
                |way| way.$field = Cut::Last,
                concat!("All of your heads take the last head's ", $part, "."),
            ),
            slip(
                concat!($part, "-reversed"),
                |way| way.$field = Cut::Reversed,
                concat!(
                    "Your first head takes the last head's ",
                    $part,
                    ", and so on: the heads of ",
                    $matrix,
                    " are counted from the end."
                ),
            ),
            slip(
                concat!($part, "-of-the-next-head"),
                |way| way.$field = Cut::Next,
                concat!("Each of your heads takes the ", $part, " of the next one."),
            ),
            slip(
                concat!($part, "-one-column-on"),
                |way| way.$field = Cut::OneColumnOn,
                concat!(
                    "The ",
                    $part,
                    " of each head begin one column after those of the head before: head \
                     h begins at column h times the width of a head."
                ),
            ),
            slip(
                concat!($part, "-dealt-out"),
                |way| way.$field = Cut::DealtOut,
                concat!(
                    "The columns of ",
                    $matrix,
                    " are dealt out to the heads in turn: a head has a run of columns one \
                     after the other."
                ),
            ),
            slip(
                concat!($part, "-by-another-width"),
                |way| way.$field = Cut::ByOtherWidth,
                concat!(
                    "The ",
                    $part,
                    " of a head begin at its number times the width of a ",
                    $other,
                    ": they have a width of their own."
                ),
            ),
        ]
    };
}

/// Of heads of keys and values, of which there are fewer.
macro_rules! groups {
    ($field:ident, $part:literal, $others:literal) => {
        [
            slip(
                concat!($part, "-by-head"),
                |way| way.$field = Cut::ByHead,
                concat!(
                    "Your ",
                    $part,
                    " are taken by the number of the query head, and there are not as \
                     many heads of them."
                ),
            ),
            slip(
                concat!($part, "-in-turns"),
                |way| way.$field = Cut::InTurns,
                concat!(
                    "The ",
                    $others,
                    " are the group's, and the ",
                    $part,
                    " are dealt out in turns, h % kv_heads: both come from kv head \
                     h / (heads / kv_heads)."
                ),
            ),
            slip(
                concat!($part, "-by-size"),
                |way| way.$field = Cut::BySize,
                concat!(
                    "The ",
                    $part,
                    " come from kv head h % size, where size is the number of heads in a \
                     group: it is h / size."
                ),
            ),
        ]
    };
}

/// Of one matrix's heads.
const OF_CUTS: [&[Slip]; 5] = [
    &cuts!(queries, "queries", "Q", "value"),
    &cuts!(keys, "keys", "K", "value"),
    &cuts!(values, "values", "V", "key"),
    &groups!(keys, "keys", "values"),
    &groups!(values, "values", "keys"),
];

/// Of heads among each other.
const OF_HEADS: &[Slip] = &[
    slip(
        "queries-by-group",
        |way| way.queries = Cut::ByGroup,
        "Your heads ask by the number of their group: each query head has columns of its \
         own in Q.",
    ),
    slip(
        "first-kv-head",
        |way| (way.keys, way.values) = (Cut::First, Cut::First),
        "All of your heads look at the first head of keys and values: its columns do not \
         move on.",
    ),
    slip(
        "last-kv-head",
        |way| (way.keys, way.values) = (Cut::Last, Cut::Last),
        "All of your heads look at the last head of keys and values.",
    ),
    slip(
        "kv-heads-reversed",
        |way| (way.keys, way.values) = (Cut::Reversed, Cut::Reversed),
        "The heads of keys and values are counted from the end, and those of the \
         queries are not.",
    ),
    slip(
        "next-kv-head",
        |way| (way.keys, way.values) = (Cut::Next, Cut::Next),
        "Each of your heads looks at the head of keys and values after its own.",
    ),
    slip(
        "kv-heads-by-head",
        |way| (way.keys, way.values) = (Cut::ByHead, Cut::ByHead),
        "Query head h looks at kv head h, and there are not as many of those.",
    ),
    slip(
        "kv-heads-in-turns",
        |way| (way.keys, way.values) = (Cut::InTurns, Cut::InTurns),
        "Your query heads take kv heads in turns, h % kv_heads. A group is a run of \
         heads one after the other, h / (heads / kv_heads).",
    ),
    slip(
        "kv-heads-by-size",
        |way| (way.keys, way.values) = (Cut::BySize, Cut::BySize),
        "Query head h looks at kv head h % size, where size is the number of heads in a \
         group: it is h / size.",
    ),
    slip(
        "kv-heads-one-column-on",
        |way| (way.keys, way.values) = (Cut::OneColumnOn, Cut::OneColumnOn),
        "The keys and values of each head begin one column after those of the head \
         before: head g begins at column g times the width of a head.",
    ),
    slip(
        "queries-and-keys-of-the-first-head",
        |way| (way.queries, way.keys) = (Cut::First, Cut::First),
        "All of your heads have the first head's weights: the columns of Q and K do not \
         move on, only those of V do.",
    ),
    slip(
        "queries-and-keys-reversed",
        |way| (way.queries, way.keys) = (Cut::Reversed, Cut::Reversed),
        "Each of your heads has the weights of the head as far from the other end, and \
         its own values: the heads of Q and K are counted from the end.",
    ),
    slip(
        "heads-reversed",
        |way| {
            (way.queries, way.keys) = (Cut::Reversed, Cut::Reversed);
            way.values = Cut::Reversed;
        },
        "Your heads are in the opposite order, in the output and in the list of weights: \
         they are counted from the end.",
    ),
    slip(
        "first-head-for-all",
        |way| {
            (way.queries, way.keys) = (Cut::First, Cut::First);
            way.values = Cut::First;
        },
        "All of your heads are the first one: no columns move on from head to head.",
    ),
    slip(
        "one-column-on",
        |way| {
            (way.queries, way.keys) = (Cut::OneColumnOn, Cut::OneColumnOn);
            way.values = Cut::OneColumnOn;
        },
        "Each of your heads begins one column after the one before it: head h begins at \
         column h times the width of a head.",
    ),
    slip(
        "dealt-out",
        |way| {
            (way.queries, way.keys) = (Cut::DealtOut, Cut::DealtOut);
            way.values = Cut::DealtOut;
        },
        "Columns are dealt out to your heads in turn: a head has a run of columns one \
         after the other.",
    ),
    slip(
        "reshaped",
        |way| {
            (way.queries, way.keys) = (Cut::Reshaped, Cut::Reshaped);
            way.values = Cut::Reshaped;
        },
        "Your heads are cut from rows: Q, K and V are read row after row and given another \
         shape, without the transpose that brings each head its columns.",
    ),
    slip(
        "queries-reshaped",
        |way| way.queries = Cut::Reshaped,
        "The queries of your heads are cut from rows: Q is read row after row and given \
         another shape, without the transpose that brings each head its columns.",
    ),
    slip(
        "queries-averaged-by-group",
        |way| way.queries = Cut::MeanOfGroup,
        "The heads of a group ask with the mean of their queries: each asks with its own.",
    ),
    slip(
        "over-root-of-layer",
        |way| way.scale = Scale::OverRootOfLayer,
        "Your rows are too flat: the scores are divided by the root of the whole layer's \
         width, and not by that of one head.",
    ),
    slip(
        "keys-for-values",
        |way| way.roles = Roles::KeysAsValuesThatFit,
        "Your weights are right, and what they average is keys: K stands where V \
         belongs. Where the widths differ, nothing fits.",
    ),
    slip(
        "heads-as-one",
        |way| way.roles = Roles::OneHead,
        "All heads are one: the columns are not cut, and there is one map of weights.",
    ),
    slip(
        "over-heads-too",
        |way| way.scale = Scale::OverHeadsToo,
        "Your rows are too flat: the scores are divided by √d_k, and by the number of \
         heads as well.",
    ),
    slip(
        "over-group-too",
        |way| way.scale = Scale::OverSizeToo,
        "Your rows are too flat: the scores are divided by √d_k, and by the number of \
         heads in a group as well.",
    ),
    slip(
        "over-root-of-group-too",
        |way| way.scale = Scale::OverRootOfSizeToo,
        "Your rows are too flat: the scores are divided by √d_k, and by the root of the \
         number of heads in a group as well.",
    ),
    slip(
        "over-root-of-kv-heads",
        |way| way.scale = Scale::OverRootOfKvHeads,
        "Your rows are too flat: the scores are divided by the root of the width of all \
         kv heads together, and not by that of one head.",
    ),
    slip(
        "over-root-of-heads",
        |way| way.scale = Scale::OverRootOfHeads,
        "Your scores are divided by the root of the number of heads, and not by that of \
         a head's width.",
    ),
    slip(
        "first-head-masked-alone",
        |way| way.seen = Seen::FirstHeadAlone,
        "Your first head obeys the mask, and the others see everything.",
    ),
    slip(
        "last-head-masked-alone",
        |way| way.seen = Seen::LastHeadAlone,
        "Your last head obeys the mask, and the others see everything.",
    ),
    slip(
        "one-softmax-for-all-heads",
        |way| way.shares = Shares::OverAllHeads,
        "The weights of all heads together sum to one: softmax runs over the keys of \
         all heads at once.",
    ),
    slip(
        "places-reversed",
        |way| way.place = Place::Reversed,
        "What your heads found lies in the opposite order: the last head's comes first.",
    ),
    slip(
        "one-place",
        |way| way.place = Place::First,
        "All of your heads write into the first head's columns, so that only the last \
         one's answer is left there, and the rest is 0.",
    ),
    slip(
        "one-place-for-each-group",
        |way| way.place = Place::ByGroup,
        "The heads of a group write into one place: each query head has columns of its \
         own in the result.",
    ),
    slip(
        "places-one-column-on",
        |way| way.place = Place::OneColumnOn,
        "What each head found begins one column after that of the head before, and \
         writes over it: head h begins at column h times the width of a value.",
    ),
    slip(
        "places-by-key-width",
        |way| way.place = Place::ByKeyWidth,
        "What each head found begins at column h times the width of a key: it is as \
         wide as a value.",
    ),
    slip(
        "places-in-turns",
        |way| way.place = Place::InTurns,
        "What the heads found is dealt out by column, one of each head in turn: it lies \
         side by side, all columns of head 0 first.",
    ),
    slip(
        "merged-without-transpose",
        |way| way.place = Place::Merged,
        "What the heads found is read head after head and given the shape of the result, \
         without the transpose that brings each token its features.",
    ),
    slip(
        "last-head-left-out",
        |way| way.place = Place::LastLeftOut,
        "The columns of the last head are 0: the loop ends one head too early.",
    ),
    slip(
        "first-head-left-out",
        |way| way.place = Place::FirstLeftOut,
        "The columns of the first head are 0: the loop begins one head too late.",
    ),
    slip(
        "one-head-too-few",
        |way| (way.place, way.maps) = (Place::LastLeftOut, Maps::LastMissing),
        "The last head is missing, in the output and in the list of weights: the loop \
         ends one head too early.",
    ),
    slip(
        "one-head-too-late",
        |way| (way.place, way.maps) = (Place::FirstLeftOut, Maps::FirstMissing),
        "The first head is missing, in the output and in the list of weights: the loop \
         begins one head too late.",
    ),
    slip(
        "every-second-head",
        |way| (way.place, way.maps) = (Place::EveryOther, Maps::EveryOther),
        "Every second head is missing, in the output and in the list of weights: the \
         loop takes heads 0, 2 and so on.",
    ),
    slip(
        "first-head-alone",
        |way| (way.place, way.maps) = (Place::FirstAlone, Maps::FirstAlone),
        "Only the first head is there, in the output and in the list of weights.",
    ),
    slip(
        "last-head-alone",
        |way| (way.place, way.maps) = (Place::LastAlone, Maps::LastAlone),
        "Only the last head is there, in the output and in the list of weights.",
    ),
    slip(
        "first-head-of-each-group",
        |way| (way.place, way.maps) = (Place::FirstOfEachGroup, Maps::OneForEachGroup),
        "Only the first head of each group is there, in the output and in the list of \
         weights: every query head looks for itself.",
    ),
    slip(
        "places-of-the-next-head",
        |way| way.place = Place::Next,
        "What each head found lies in the place of the next one.",
    ),
    slip(
        "added-in-the-first-place",
        |way| way.place = Place::FirstAdded,
        "What the heads found is added up in the first head's columns, and the others \
         are 0: it belongs side by side.",
    ),
    slip(
        "added-in-every-place",
        |way| way.place = Place::EverywhereAdded,
        "Every head's columns hold the sum of what all heads found: each belongs in its \
         own.",
    ),
    slip(
        "averaged-in-every-place",
        |way| way.place = Place::EverywhereAveraged,
        "Every head's columns hold the mean of what all heads found: each belongs in its \
         own.",
    ),
    slip(
        "added-up",
        |way| way.place = Place::AddedUp,
        "The columns of each head hold what it found and what the heads before it found, \
         added up: the sum is not begun anew.",
    ),
    slip(
        "added-by-group",
        |way| way.place = Place::AddedByGroup,
        "The columns of each head hold the sum of what the heads of its group found: \
         each belongs in its own.",
    ),
    slip(
        "averaged-by-group",
        |way| way.place = Place::AveragedByGroup,
        "The columns of each head hold the mean of what the heads of its group found: \
         each belongs in its own.",
    ),
    slip(
        "heads-added",
        |way| way.place = Place::Added,
        "What the heads found is added up: it belongs side by side.",
    ),
    slip(
        "heads-averaged",
        |way| way.place = Place::Averaged,
        "What the heads found is averaged: it belongs side by side.",
    ),
    slip(
        "heads-stacked",
        |way| way.place = Place::Stacked,
        "What the heads found lies below each other: it belongs side by side.",
    ),
    slip(
        "maps-reversed",
        |way| way.maps = Maps::Reversed,
        "The output is right, and the list of weights is in the opposite order, the last \
         head's first.",
    ),
    slip(
        "last-map-missing",
        |way| way.maps = Maps::LastMissing,
        "The output is right, and the last head's weights are missing from the list.",
    ),
    slip(
        "first-map-missing",
        |way| way.maps = Maps::FirstMissing,
        "The output is right, and the first head's weights are missing from the list.",
    ),
    slip(
        "first-map-for-all",
        |way| way.maps = Maps::FirstForAll,
        "The output is right, and the list has the first head's weights each time.",
    ),
    slip(
        "last-map-for-all",
        |way| way.maps = Maps::LastForAll,
        "The output is right, and the list has the last head's weights each time.",
    ),
    slip(
        "mean-map-for-all",
        |way| way.maps = Maps::Mean,
        "The output is right, and the list has the mean of all heads' weights each \
         time.",
    ),
    slip(
        "one-map-the-sum",
        |way| way.maps = Maps::Sum,
        "The output is right, and the list has one map, the sum of all heads' weights.",
    ),
    slip(
        "one-map-the-mean",
        |way| way.maps = Maps::OneMean,
        "The output is right, and the list has one map, the mean of all heads' weights.",
    ),
    slip(
        "one-map-the-first",
        |way| way.maps = Maps::FirstAlone,
        "The output is right, and the list has one map, that of the first head.",
    ),
    slip(
        "one-map-for-each-group",
        |way| way.maps = Maps::OneForEachGroup,
        "The output is right, and the list has one map for each group: every query head \
         has weights of its own.",
    ),
    slip(
        "no-maps",
        |way| way.maps = Maps::None,
        "The output is right, and the list of weights is empty.",
    ),
];

/// What is told of in [`slips`], with other numbers.
pub fn other_numbers() -> impl Iterator<Item = &'static Slip> {
    OTHER_NUMBERS.iter()
}

/// Those of one head, or of all alike.
pub fn of_attention() -> impl Iterator<Item = &'static Slip> {
    OF_ATTENTION.iter().chain(other_numbers())
}

/// Those of heads among each other, of which each has keys and values of its own.
pub fn of_heads() -> impl Iterator<Item = &'static Slip> {
    let of_cuts = OF_CUTS[..3].iter().copied().flatten();
    OF_HEADS.iter().chain(of_cuts).filter(|slip| !is_of_groups(slip.name))
}

/// Those of heads that share keys and values.
pub fn of_groups() -> impl Iterator<Item = &'static Slip> {
    let of_cuts = OF_CUTS[3..].iter().copied().flatten();
    OF_HEADS.iter().filter(|slip| is_of_groups(slip.name)).chain(of_cuts)
}

fn is_of_groups(name: &str) -> bool {
    ["kv-head", "group"].iter().any(|word| name.contains(word))
}

/// Those of a window that moves with the query.
pub fn of_windows() -> impl Iterator<Item = &'static Slip> {
    OF_WINDOWS.iter()
}

/// Those of keys that are taken in tiles.
pub fn of_tiles() -> impl Iterator<Item = &'static Slip> {
    OF_TILES.iter()
}

/// All of them, those of heads only where there is more than one.
#[must_use]
pub fn slips(many_heads: bool) -> Vec<&'static Slip> {
    if !many_heads {
        return OF_ATTENTION.iter().collect();
    }
    let of_cuts = OF_CUTS.into_iter().flatten();
    OF_ATTENTION.iter().chain(OF_HEADS).chain(of_cuts).collect()
}

/// How attention goes with these slips.
#[must_use]
pub fn way(slips: &[&Slip]) -> Way {
    let mut way = Way::default();
    for slip in slips {
        (slip.make)(&mut way);
    }
    way
}
