// NVRTC without CUDA, for tests: built as libnvrtc.so.13. A source with "#error" in it is refused.
//
// Kernels go to the system's C++ compiler, behind kernels/host.h, if FAKE_HOST names that file: code is then a library that
// fake.c opens. Without FAKE_HOST they are idle: all that there is of them is how many words they take.
#include "fake.h"

typedef struct { char *text, *code; size_t bytes; char log[4096]; } Program;

EXPORT int nvrtcVersion(int *major, int *minor) {
    long version = setting("FAKE_NVRTC", 130);
    *major = (int)(version / 10);
    *minor = (int)(version % 10);
    return 0;
}
EXPORT int nvrtcGetNumSupportedArchs(int *many) { *many = 2; return 0; }
EXPORT int nvrtcGetSupportedArchs(int *archs) { archs[0] = 80; archs[1] = 90; return 0; }
EXPORT int nvrtcCreateProgram(void **raw, const char *text, const char *name, int many, void *headers, void *names) {
    (void)name, (void)headers, (void)names;
    Program *program = calloc(1, sizeof *program);
    program->text = strdup(text);
    *raw = program;
    return many;
}
EXPORT int nvrtcDestroyProgram(void **raw) {
    Program *program = *raw;
    free(program->text);
    free(program->code);
    free(program);
    *raw = NULL;
    return 0;
}
// All of a file.
static char *contents(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *all = calloc(1, *bytes + 1);
    *bytes = fread(all, 1, *bytes, file);
    fclose(file);
    return all;
}
// Has the system's compiler make a library of a kernel, as tests/cuda/host.rs does.
static int build(Program *program, const char *host) {
    char folder[] = "/tmp/growmerge-nvrtc-XXXXXX", path[64], command[1024];
    if (!mkdtemp(folder)) return 11;
    snprintf(path, sizeof path, "%s/kernel.cpp", folder);
    FILE *file = fopen(path, "w");
    if (!file) return 11;
    fprintf(file, "#include \"%s\"\n%s\nextern \"C\" const unsigned long words = sizeof(Args) / 8;\n", host, program->text);
    fprintf(file, "extern \"C\" void run(const Args *args, unsigned blocks, unsigned threads) {\n"
                  "    host_launch(blocks, threads, [=] { growmerge_kernel(*args); });\n}\n");
    fclose(file);
    const char *compiler = getenv("CXX");
    snprintf(command, sizeof command,
             "%s -std=c++20 -O1 -ffp-contract=off -fno-fast-math -shared -fPIC -pthread -o %s/kernel.so %s 2>%s/log",
             compiler && *compiler ? compiler : "c++", folder, path, folder);
    int failed = system(command);
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/log", folder);
    char *log = contents(path, &bytes);
    if (failed && log) snprintf(program->log, sizeof program->log, "%s", log);
    free(log);
    snprintf(path, sizeof path, "%s/kernel.so", folder);
    if (!failed) program->code = contents(path, &program->bytes);
    const char *left[] = {"kernel.cpp", "kernel.so", "log"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, left[i]);
        unlink(path);
    }
    rmdir(folder);
    return program->code ? 0 : 6;
}
EXPORT int nvrtcCompileProgram(void *raw, int many, const char **options) {
    Program *program = raw;
    char line[256] = "compile";
    for (int i = 0; i < many; i++)
        if (strstr(options[i], "--gpu-architecture=")) snprintf(line, sizeof line, "compile %s", options[i] + 19);
    note(line);
    if (strstr(program->text, "#error")) {
        strcpy(program->log, "line 1: no\n");
        return 6;
    }
    const char *host = getenv("FAKE_HOST"), *of_kernel = strstr(program->text, "u64 word[");
    if (of_kernel && host) return build(program, host);
    const char *words = strstr(program->text, "words ");
    const char *many_words = of_kernel ? of_kernel + 9 : words ? words + 6 : "3";
    int cubin = strstr(line, "sm_") != NULL;
    program->code = malloc(64);
    program->bytes = (size_t)snprintf(program->code, 64, "%skernel %ld%s", cubin ? "\177ELF " : " ", atol(many_words),
                                      of_kernel ? " idle" : "") + 1;
    return 0;
}
EXPORT int nvrtcGetProgramLogSize(void *raw, size_t *bytes) { *bytes = strlen(((Program *)raw)->log) + 1; return 0; }
EXPORT int nvrtcGetProgramLog(void *raw, char *log) { strcpy(log, ((Program *)raw)->log); return 0; }
EXPORT int nvrtcGetCUBINSize(void *raw, size_t *bytes) { *bytes = ((Program *)raw)->bytes; return 0; }
EXPORT int nvrtcGetCUBIN(void *raw, char *code) { memcpy(code, ((Program *)raw)->code, ((Program *)raw)->bytes); return 0; }
EXPORT int nvrtcGetPTXSize(void *raw, size_t *bytes) { return nvrtcGetCUBINSize(raw, bytes); }
EXPORT int nvrtcGetPTX(void *raw, char *code) { return nvrtcGetCUBIN(raw, code); }
EXPORT const char *nvrtcGetErrorString(int error) { return error == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
