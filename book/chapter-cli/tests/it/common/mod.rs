//! A folder to run the example chapter in, and files to give it.

// Each test uses its own part of this.
#![allow(dead_code)]

// There it is a whole program, here a part of one.
#[allow(unreachable_pub)]
#[path = "../../../examples/scale.rs"]
mod scale;

use chapter_cli::Chapter;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder that is gone at the end of the test.
pub(crate) struct Folder(TempDir);

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    /// Runs the chapter. `DIR` in an argument is this folder, and is written so in what
    /// comes back.
    pub(crate) fn run(&self, arguments: &str) -> Ran {
        self.run_each(arguments.split_whitespace())
    }

    pub(crate) fn run_each<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Ran {
        self.run_each_of::<scale::Scale>(arguments)
    }

    /// [`Folder::run`] for another chapter.
    pub(crate) fn run_of<C: Chapter>(&self, arguments: &str) -> Ran {
        self.run_each_of::<C>(arguments.split_whitespace())
    }

    fn run_each_of<'a, C: Chapter>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Ran {
        let here = self.0.path().to_str().unwrap();
        let arguments =
            arguments.into_iter().map(|a| OsString::from(a.replace("DIR", here)));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = chapter_cli::run::<C>(
            std::iter::once(C::NAME.into()).chain(arguments),
            &mut stdout,
            &mut stderr,
        );
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(here, "DIR");
        Ran { code, stdout: text(stdout), stderr: text(stderr) }
    }

    /// `forward` from DIR/in to DIR/out.
    pub(crate) fn forward(&self, more: &str) -> Ran {
        self.run(&format!("forward --input DIR/in --output DIR/out {more}"))
    }

    /// [`Folder::forward`] for another chapter.
    pub(crate) fn forward_of<C: Chapter>(&self, more: &str) -> Ran {
        self.run_of::<C>(&format!("forward --input DIR/in --output DIR/out {more}"))
    }

    /// Shape and numbers of a tensor in DIR/out.
    pub(crate) fn out(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let bytes = fs::read(self.path("out")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32);
        let numbers =
            tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
        (tensor.shape().to_vec(), numbers.collect())
    }

    /// Everything in the folder.
    pub(crate) fn content(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (path.clone(), path.is_file().then(|| fs::read(&path).unwrap()))
            })
            .collect()
    }
}

/// A tensor to be written to a file.
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn f32s(name: &str, shape: &[usize], numbers: &[f32]) -> Tensor {
    let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    raw(name, Dtype::F32, shape, bytes)
}

pub(crate) fn zeros(name: &str, shape: &[usize]) -> Tensor {
    f32s(name, shape, &vec![0.0; shape.iter().product()])
}

pub(crate) fn bools(name: &str, shape: &[usize], values: &[u8]) -> Tensor {
    raw(name, Dtype::BOOL, shape, values.to_vec())
}

pub(crate) fn raw(name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Tensor {
    Tensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
}

pub(crate) fn file(tensors: &[Tensor]) -> Vec<u8> {
    let views = tensors.iter().map(|tensor| {
        let Tensor { name, dtype, shape, bytes } = tensor;
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A file with this header, true or not.
pub(crate) fn claim(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

/// W `[2, 3]` and b `[2]`.
pub(crate) fn layer() -> [Tensor; 2] {
    [
        f32s("scale.weight", &[2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]),
        f32s("scale.bias", &[2], &[0.5, -0.5]),
    ]
}

/// The layer and more.
pub(crate) fn layer_and<const N: usize>(more: [Tensor; N]) -> Vec<u8> {
    file(&layer().into_iter().chain(more).collect::<Vec<_>>())
}
