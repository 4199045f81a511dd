//! NVRTC's library, found at run time, and the calls into it.
//!
//! It is opened by its own path rather than by cudarc, which opens the first library of a list of names: a folder that
//! was named would lose to an older NVRTC of the system, and a function that one lacks would be a panic.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::Library as Shared;

use super::CompileError;
use crate::device::cuda::driver::missing::{Missing, Version};
use crate::device::cuda::driver::target::{Arch, Target};

/// The oldest that is tried: what the driver has to be.
const NEEDED: Version = Version { major: 13, minor: 0 };

/// What a library is called, best first.
const NAMES: [&str; 2] = ["libnvrtc.so.13", "libnvrtc.so"];

type Program = *mut c_void;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Bytes = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Texts = *const *const c_char;

/// An NVRTC that was found.
#[derive(Debug)]
pub(super) struct Library {
    /// Path, or name if the system found it by that.
    pub(super) from: String,
    pub(super) version: Version,
    /// What it makes machine code for.
    pub(super) archs: Vec<Arch>,
    create: unsafe extern "C" fn(*mut Program, *const c_char, *const c_char, c_int, Texts, Texts) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, Texts) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    log: (Size, Bytes),
    ptx: (Size, Bytes),
    cubin: (Size, Bytes),
    error: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Keeps what is above where it is; the second is what NVRTC looks for by name when it compiles.
    _libraries: (Shared, Option<Shared>),
}

impl Library {
    /// Finds one: in `folder` alone if there is one, else among the usual names and places.
    pub(super) fn find(folder: Option<&Path>) -> Result<Self, Missing> {
        let mut looked: Vec<String> = Vec::new();
        let folders = match folder {
            Some(folder) => vec![folder.to_owned()],
            None => usual_folders(),
        };
        let mut tries: Vec<(String, Option<&Path>)> = Vec::new();
        if folder.is_none() {
            tries.extend(NAMES.map(|name| (name.to_owned(), None)));
        }
        for folder in &folders {
            let path = |name| folder.join(name).to_string_lossy().into_owned();
            tries.extend(NAMES.map(|name| (path(name), Some(folder.as_path()))));
        }
        for (name, folder) in tries {
            if folder.is_some() && !Path::new(&name).is_file() {
                looked.push(name);
                continue;
            }
            let builtins = folder.and_then(builtins);
            // SAFETY: the initialisers of NVIDIA's library, which the user or the system named.
            match unsafe { Shared::new(&name) } {
                Ok(shared) => return Self::of(name, shared, builtins),
                Err(error) if folder.is_some() => {
                    return Err(Missing::Other { what: format!("NVRTC does not open: {error}.") });
                }
                Err(_) => looked.push(name),
            }
        }
        Err(Missing::Compiler { looked })
    }

    /// Finds the functions of an open library.
    fn of(from: String, shared: Shared, builtins: Option<Shared>) -> Result<Self, Missing> {
        let lacks =
            |error: libloading::Error| Missing::Other { what: format!("{from} is not NVRTC: {error}.") };
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is that of NVRTC's header; the function lives as long as `shared`, which goes with it.
                unsafe { *shared.get(concat!($name, "\0").as_bytes()).map_err(lacks)? }
            };
        }
        let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = function!("nvrtcVersion");
        let (mut major, mut minor): (c_int, c_int) = (0, 0);
        // SAFETY: writes two integers.
        unsafe { version(&mut major, &mut minor) };
        let found = Version { major: major.unsigned_abs(), minor: minor.unsigned_abs() };
        if found < NEEDED {
            return Err(Missing::CompilerTooOld { from, found, needed: NEEDED });
        }
        let count: unsafe extern "C" fn(*mut c_int) -> c_int = function!("nvrtcGetNumSupportedArchs");
        let list: unsafe extern "C" fn(*mut c_int) -> c_int = function!("nvrtcGetSupportedArchs");
        let mut many: c_int = 0;
        // SAFETY: writes one integer, the length of what is then written.
        let numbers = unsafe {
            count(&mut many);
            let mut numbers: Vec<c_int> = vec![0; usize::try_from(many).unwrap_or(0)];
            list(numbers.as_mut_ptr());
            numbers
        };
        Ok(Self {
            version: found,
            archs: numbers.iter().map(|n| Arch::of_number(n.unsigned_abs())).collect(),
            create: function!("nvrtcCreateProgram"),
            compile: function!("nvrtcCompileProgram"),
            destroy: function!("nvrtcDestroyProgram"),
            log: (function!("nvrtcGetProgramLogSize"), function!("nvrtcGetProgramLog")),
            ptx: (function!("nvrtcGetPTXSize"), function!("nvrtcGetPTX")),
            cubin: (function!("nvrtcGetCUBINSize"), function!("nvrtcGetCUBIN")),
            error: function!("nvrtcGetErrorString"),
            from,
            _libraries: (shared, builtins),
        })
    }

    /// Compiles a text; returns code and log.
    pub(super) fn compile(
        &self,
        text: &str,
        options: &[String],
        target: Target,
    ) -> Result<(Vec<u8>, String), CompileError> {
        let zero = |_| CompileError::Failed { what: "a source or an option has a zero in it".into() };
        let text = CString::new(text).map_err(zero)?;
        let options: Vec<CString> =
            options.iter().map(|o| CString::new(o.as_str())).collect::<Result<_, _>>().map_err(zero)?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program = Destroyed { raw: ptr::null_mut(), destroy: self.destroy };
        let (name, none) = (c"growmerge.cu".as_ptr(), ptr::null());
        // SAFETY: text, name and options end with a zero and outlive the program; there are no headers.
        self.done(unsafe { (self.create)(&mut program.raw, text.as_ptr(), name, 0, none, none) })?;
        let many = c_int::try_from(pointers.len()).unwrap_or(0);
        // SAFETY: as above; `pointers` has `many` of them.
        let outcome = self.done(unsafe { (self.compile)(program.raw, many, pointers.as_ptr()) });
        // Before anything was compiled there is no log, which is no reason to say less.
        let log = self.bytes(self.log, program.raw).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned();
        match outcome {
            Err(CompileError::Failed { what }) if !log.is_empty() => {
                return Err(CompileError::Source { what, log });
            }
            outcome => outcome?,
        }
        let code = match target {
            Target::Cubin(_) => self.bytes(self.cubin, program.raw)?,
            Target::Ptx(_) => self.bytes(self.ptx, program.raw)?,
        };
        Ok((code, log))
    }

    /// What a pair of functions has to say of a program.
    fn bytes(&self, (size, get): (Size, Bytes), program: Program) -> Result<Vec<u8>, CompileError> {
        let mut bytes = 0;
        // SAFETY: the program lives; one number is written.
        self.done(unsafe { size(program, &mut bytes) })?;
        let mut all = vec![0u8; bytes];
        // SAFETY: as many bytes are written as was just said.
        self.done(unsafe { get(program, all.as_mut_ptr().cast()) })?;
        Ok(all)
    }

    /// NVRTC's word for an error.
    fn done(&self, result: c_int) -> Result<(), CompileError> {
        if result == 0 {
            return Ok(());
        }
        // SAFETY: takes any number, and answers with a text that is never freed.
        let text = unsafe {
            let text = (self.error)(result);
            if text.is_null() { c"unknown error" } else { CStr::from_ptr(text) }
        };
        Err(CompileError::Failed { what: text.to_string_lossy().into_owned() })
    }
}

/// A program that is destroyed however compiling ends.
struct Destroyed {
    raw: Program,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
}

impl Drop for Destroyed {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: created once, destroyed once; the library is still open, because it is borrowed meanwhile.
            unsafe { (self.destroy)(&mut self.raw) };
        }
    }
}

/// What NVRTC looks for when it compiles, and finds by name when it is open already.
fn builtins(folder: &Path) -> Option<Shared> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut names: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.retain(|path| {
        path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("libnvrtc-builtins.so"))
    });
    names.sort();
    // SAFETY: as for NVRTC itself. The longest name is the one with its release, by which it is looked for.
    names.last().and_then(|path| unsafe { Shared::new(path) }.ok())
}

/// Where toolkits are installed.
fn usual_folders() -> Vec<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let mut folders: Vec<PathBuf> =
        named.chain(["/usr/local/cuda".into()]).map(|f| f.join("lib64")).collect();
    folders.dedup();
    folders
}
