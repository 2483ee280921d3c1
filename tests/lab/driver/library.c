/* A stand-in for one of the driver's libraries: a real shared object with the right SONAME, and nothing that computes.
 * cuInit answers CUDA_ERROR_NO_DEVICE: no one shall believe that CUDA ran. */
int cuInit(unsigned int flags);
int cuDriverGetVersion(int *version);

int cuInit(unsigned int flags) { return (void)flags, 100; }
int cuDriverGetVersion(int *version) { return *version = 12080, 0; }
