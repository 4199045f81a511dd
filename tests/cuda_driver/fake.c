// NVIDIA's driver without a card, for tests: built as libcuda.so.
//
// Work that is queued is done when somebody waits for it, not before, and memory of copies is read and written then: a slot
// that is filled again too early, or emptied too early, gives wrong bytes. Kernels are what nvrtc.c makes of sources. FAKE_*
// variables say what kind of machine it is.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <pthread.h>
#include "fake.h"

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_IMAGE = 200,
       INVALID_CONTEXT = 201, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700 };

typedef void (*Kernel)(const uint64_t *words, unsigned blocks, unsigned threads);
typedef enum { COPY, CLEAR, ADD, LAUNCH } Kind;
typedef struct Work {
    Kind kind;
    char *to;
    const char *from;
    size_t bytes;
    Kernel kernel;
    unsigned blocks;
    uint64_t *words;
    void *module;
    struct Work *next;
} Work;
typedef struct { Work *first, **end; uint64_t queued, done; } Stream;
typedef struct { Stream *stream; uint64_t behind; } Event;
// A library of nvrtc.c's, or nothing but a number of words.
typedef struct { size_t words; int idle; void *library; Kernel kernel; } Module;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int started, retained, broken;
static size_t in_use, pinned;
static Stream *streams[64];
static _Thread_local void *current;
static int context;

#define MEMORY ((size_t)setting("FAKE_MEMORY", 1l << 30))
// A card that failed once answers everything with that failure, as cards do.
#define ENTERED() do { if (!current) return INVALID_CONTEXT; if (broken) return ILLEGAL_ADDRESS; } while (0)

// Does the work of a queue up to a number. One launch at a time: a library that is loaded twice may be one, and what its
// kernels share is its own. The launch of number FAKE_FAILS breaks the card.
static void run(Stream *stream, uint64_t upto) {
    static long launched;
    while (stream->first && stream->done < upto) {
        Work *work = stream->first;
        switch (work->kind) {
        case COPY: memcpy(work->to, work->from, work->bytes); break;
        case CLEAR: memset(work->to, 0, work->bytes); break;
        case LAUNCH:
            if (++launched == setting("FAKE_FAILS", 0)) broken = 1;
            if (!broken && work->kernel) work->kernel(work->words, work->blocks, 1);
            break;
        case ADD:
            for (uint64_t i = 0; i < work->words[1]; i++) ((uint32_t *)work->words[0])[i] += (uint32_t)work->words[2];
            break;
        }
        stream->first = work->next;
        if (!stream->first) stream->end = &stream->first;
        stream->done++;
        free(work->words);
        free(work);
    }
}

static int put(Stream *stream, Work made) {
    ENTERED();
    Work *work = malloc(sizeof *work);
    *work = made;
    work->next = NULL;
    pthread_mutex_lock(&lock);
    *stream->end = work;
    stream->end = &work->next;
    stream->queued++;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}

EXPORT int cuDriverGetVersion(int *version) { *version = (int)setting("FAKE_VERSION", 13000); return SUCCESS; }
EXPORT int cuInit(unsigned flags) {
    if (flags) return INVALID_VALUE;
    if (setting("FAKE_CARDS", 1) == 0) return NO_DEVICE;
    started = 1;
    return SUCCESS;
}
EXPORT int cuGetErrorName(int error, const char **name) {
    *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : error == INVALID_IMAGE ? "CUDA_ERROR_INVALID_IMAGE"
          : error == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : error == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR_OTHER";
    return SUCCESS;
}
EXPORT int cuGetErrorString(int error, const char **text) {
    *text = error == INVALID_IMAGE ? "device kernel image is invalid" : "something is wrong";
    return SUCCESS;
}
EXPORT int cuDeviceGetCount(int *count) {
    if (!started) return NOT_INITIALIZED;
    *count = (int)setting("FAKE_CARDS", 1);
    return SUCCESS;
}
EXPORT int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return SUCCESS; }
EXPORT int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, "Fake %d", device);
    return SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    long arch = setting("FAKE_ARCH", 90);
    switch (attribute) {
    case 16: *value = 7; return SUCCESS; // multiprocessors
    case 75: *value = (int)(arch / 10); return SUCCESS;
    case 76: *value = (int)(arch % 10); return SUCCESS;
    default: return INVALID_VALUE;
    }
}
EXPORT int cuDevicePrimaryCtxRetain(void **raw, int device) { (void)device; retained++; *raw = &context; return SUCCESS; }
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    retained--;
    char line[128];
    snprintf(line, sizeof line, "released: %d contexts, %zu bytes of memory, %zu pinned", retained, in_use, pinned);
    note(line);
    return SUCCESS;
}
EXPORT int cuCtxSetCurrent(void *raw) { current = raw; return SUCCESS; }
EXPORT int cuCtxSynchronize(void) {
    ENTERED();
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 64; i++)
        if (streams[i]) run(streams[i], UINT64_MAX);
    pthread_mutex_unlock(&lock);
    ENTERED();
    return SUCCESS;
}
EXPORT int cuMemGetInfo_v2(size_t *free_, size_t *total) { ENTERED(); *free_ = MEMORY - in_use; *total = MEMORY; return SUCCESS; }
EXPORT int cuMemAlloc_v2(uint64_t *at, size_t bytes) {
    ENTERED();
    if (bytes == 0) return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int full = bytes + in_use > MEMORY;
    if (!full) in_use += bytes;
    pthread_mutex_unlock(&lock);
    if (full) return OUT_OF_MEMORY;
    size_t *memory = aligned_alloc(256, (bytes + 511) / 256 * 256);
    memset(memory, 0xa5, (bytes + 511) / 256 * 256);
    memory[0] = bytes;
    *at = (uint64_t)memory + 256;
    return SUCCESS;
}
EXPORT int cuMemFree_v2(uint64_t at) {
    ENTERED();
    size_t *memory = (size_t *)(at - 256);
    pthread_mutex_lock(&lock);
    in_use -= memory[0];
    pthread_mutex_unlock(&lock);
    memset(memory, 0xee, memory[0] + 256);
    free(memory);
    return SUCCESS;
}
EXPORT int cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    ENTERED();
    if (bytes == 0 || (flags != 0 && flags != 4)) return INVALID_VALUE;
    size_t most = (size_t)setting("FAKE_PINNED", 1l << 30);
    pthread_mutex_lock(&lock);
    int full = pinned + bytes > most;
    if (!full) pinned += bytes;
    pthread_mutex_unlock(&lock);
    if (full) return OUT_OF_MEMORY;
    size_t *all = malloc(bytes + 64);
    all[0] = bytes;
    memset(all + 8, 0xaa, bytes);
    *memory = all + 8;
    return SUCCESS;
}
EXPORT int cuMemFreeHost(void *memory) {
    ENTERED();
    size_t *all = (size_t *)memory - 8;
    pthread_mutex_lock(&lock);
    pinned -= all[0];
    pthread_mutex_unlock(&lock);
    free(all);
    return SUCCESS;
}
EXPORT int cuStreamCreate(void **raw, unsigned flags) {
    ENTERED();
    if (flags != 1) return INVALID_VALUE;
    Stream *stream = calloc(1, sizeof *stream);
    stream->end = &stream->first;
    *raw = stream;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 64; i++)
        if (!streams[i]) { streams[i] = stream; break; }
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}
EXPORT int cuStreamSynchronize(void *raw) {
    ENTERED();
    pthread_mutex_lock(&lock);
    run(raw, UINT64_MAX);
    pthread_mutex_unlock(&lock);
    ENTERED();
    return SUCCESS;
}
EXPORT int cuStreamDestroy_v2(void *raw) {
    ENTERED();
    pthread_mutex_lock(&lock);
    if (((Stream *)raw)->first) note("a queue with work in it was destroyed");
    for (int i = 0; i < 64; i++)
        if (streams[i] == raw) streams[i] = NULL;
    pthread_mutex_unlock(&lock);
    return SUCCESS; // kept: events may still speak of it
}
EXPORT int cuEventCreate(void **raw, unsigned flags) { ENTERED(); (void)flags; *raw = calloc(1, sizeof(Event)); return SUCCESS; }
EXPORT int cuEventDestroy_v2(void *raw) { free(raw); return SUCCESS; }
EXPORT int cuEventRecord(void *raw, void *stream) {
    ENTERED();
    Event *event = raw;
    pthread_mutex_lock(&lock);
    event->stream = stream;
    event->behind = event->stream->queued;
    pthread_mutex_unlock(&lock);
    return SUCCESS;
}
EXPORT int cuEventQuery(void *raw) {
    ENTERED();
    Event *event = raw;
    pthread_mutex_lock(&lock);
    int done = !event->stream || event->stream->done >= event->behind;
    pthread_mutex_unlock(&lock);
    return done ? SUCCESS : NOT_READY;
}
EXPORT int cuEventSynchronize(void *raw) {
    ENTERED();
    Event *event = raw;
    pthread_mutex_lock(&lock);
    if (event->stream) run(event->stream, event->behind);
    pthread_mutex_unlock(&lock);
    ENTERED();
    return SUCCESS;
}
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    return put(stream, (Work){.kind = COPY, .to = (char *)to, .from = from, .bytes = bytes});
}
EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    return put(stream, (Work){.kind = COPY, .to = to, .from = (const char *)from, .bytes = bytes});
}
EXPORT int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    return value ? INVALID_VALUE : put(stream, (Work){.kind = CLEAR, .to = (char *)to, .bytes = bytes});
}
// The length of a library: what its header says is behind everything else.
static size_t length_of(const void *image) {
    const Elf64_Ehdr *head = image;
    return head->e_shoff + (size_t)head->e_shnum * head->e_shentsize;
}
// Opens a library that is in memory, from a file of its own: the same file would be the same library.
static int open_library(Module *module, const void *image) {
    char path[] = "/tmp/growmerge-kernel-XXXXXX";
    int file = mkstemp(path);
    if (file < 0) return INVALID_IMAGE;
    size_t length = length_of(image);
    ssize_t written = write(file, image, length);
    close(file);
    module->library = written == (ssize_t)length ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    unlink(path);
    if (!module->library) return INVALID_IMAGE;
    module->kernel = (Kernel)dlsym(module->library, "run");
    const size_t *words = dlsym(module->library, "words");
    if (!module->kernel || !words) return INVALID_IMAGE;
    module->words = *words;
    return SUCCESS;
}
// Images are "\x7fELF kernel WORDS", with "idle" behind it if it does nothing, or libraries.
EXPORT int cuModuleLoadData(void **raw, const void *image) {
    ENTERED();
    const char *head = "\177ELF kernel ";
    Module *module = calloc(1, sizeof *module);
    if (!strncmp(image, head, strlen(head)) || !strncmp(image, head + 4, strlen(head) - 4)) {
        module->words = (size_t)atol(strstr(image, "kernel ") + 7);
        module->idle = strstr(image, "idle") != NULL;
    } else if (memcmp(image, "\177ELF\2\1\1", 7) || open_library(module, image)) {
        free(module);
        return INVALID_IMAGE;
    }
    note("load");
    *raw = module;
    return SUCCESS;
}
EXPORT int cuModuleUnload(void *raw) {
    ENTERED();
    pthread_mutex_lock(&lock);
    int queued = 0;
    for (int i = 0; i < 64; i++)
        for (Work *work = streams[i] ? streams[i]->first : NULL; work; work = work->next) queued |= work->module == raw;
    pthread_mutex_unlock(&lock);
    note(queued ? "a kernel that was queued is unloaded" : "unload");
    if (((Module *)raw)->library) dlclose(((Module *)raw)->library);
    free(raw);
    return SUCCESS;
}
EXPORT int cuModuleGetFunction(void **raw, void *module, const char *name) {
    if (strcmp(name, "growmerge_kernel")) return NOT_FOUND;
    *raw = module;
    return SUCCESS;
}
EXPORT int cuFuncGetParamInfo(void *raw, size_t index, size_t *offset, size_t *bytes) {
    if (index) return INVALID_VALUE;
    *offset = 0;
    *bytes = 8 * ((Module *)raw)->words;
    return SUCCESS;
}
// A kernel that is no library adds words[2] to words[1] numbers at words[0], or does nothing.
EXPORT int cuLaunchKernel(void *raw, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, void *stream, void **parameters, void **extra) {
    Module *module = raw;
    if (!gx || !bx || gy * gz * by * bz != 1 || shared || extra) return INVALID_VALUE;
    int adds = !module->library && !module->idle;
    if (adds && module->words != 3) return INVALID_VALUE;
    Work work = {.kind = adds ? ADD : LAUNCH, .kernel = module->kernel, .module = raw, .blocks = gx < 3 ? gx : 3};
    work.words = malloc(8 * module->words);
    memcpy(work.words, parameters[0], 8 * module->words);
    return put(stream, work);
}
