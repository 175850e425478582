/* vidconf.exe and vidconf-cli.exe: load python313.dll that lies beside them and run the program in it.
 *
 * Their own names let firewalls, AppLocker and the taskbar tell the program from any other Python. The same source makes both;
 * the linker's subsystem is the difference. What cannot be loaded is said in a box (window) or on stderr (console), exit 70.
 */
#include <windows.h>
#include <wchar.h>

#define ADVICE L"Install Vidconf again, or ask whoever manages this computer."
#include "failed.h"

int _dowildcard = 0; /* a * in a meeting's name is a *, not a list of files */

typedef int (*PyMain)(int, wchar_t **);

/* The folder of this program with `name` behind it; NULL when memory ends. Paths may be as long as Windows allows. */
static wchar_t *beside(const wchar_t *name)
{
    DWORD room = 32768;
    wchar_t *path = malloc((room + wcslen(name)) * sizeof *path);
    if (path == NULL)
        return NULL;
    DWORD length = GetModuleFileNameW(NULL, path, room);
    if (length == 0 || length >= room) {
        free(path);
        return NULL;
    }
    wchar_t *last = wcsrchr(path, L'\\');
    wcscpy(last ? last + 1 : path, name);
    return path;
}

int wmain(int count, wchar_t **words)
{
    static const wchar_t *const before[] = {L"-I", L"-X", L"utf8", L"-m", L"vidconf.cli.main"};
    const int extra = sizeof before / sizeof *before;

    /* DLLs come from this program's folder and from Windows, never from the current folder or PATH. */
    SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_DEFAULT_DIRS | LOAD_LIBRARY_SEARCH_USER_DIRS);
    wchar_t *library = beside(L"python313.dll");
    if (library == NULL)
        return failed(L"The program's folder cannot be read", GetLastError());
    HMODULE python = LoadLibraryExW(library, NULL, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    if (python == NULL)
        return failed(L"python313.dll cannot be loaded", GetLastError());
    PyMain run = (PyMain)(void *)GetProcAddress(python, "Py_Main");
    if (run == NULL)
        return failed(L"python313.dll is not the one that belongs here", GetLastError());

    wchar_t **all = calloc((size_t)count + extra + 1, sizeof *all);
    if (all == NULL)
        return failed(L"There is no memory left", ERROR_OUTOFMEMORY);
    all[0] = words[0];
    for (int at = 0; at < extra; at++)
        all[1 + at] = (wchar_t *)before[at];
    for (int at = 1; at < count; at++)
        all[extra + at] = words[at];
    return run(count + extra, all);
}
