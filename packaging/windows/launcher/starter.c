/* vidconf.exe and vidconf-cli.exe at the top of the portable folder: start the program of the version that `current` names.
 *
 * They are never replaced; a new version lies in a folder of its own and counts as soon as `current` names it. What `current`
 * says is a name and nothing else: letters, digits, dots, + and -, no path. Exit 70 when it cannot be read or started.
 */
#include <windows.h>
#include <wchar.h>

#define ADVICE L"Unpack the portable Vidconf again."
#include "failed.h"

#define ROOM 32768

/* The version `current` names into `name`; 0 when there is none. */
static int read_current(const wchar_t *path, wchar_t name[64])
{
    char text[64];
    DWORD length = 0;
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return 0;
    BOOL done = ReadFile(file, text, sizeof text - 1, &length, NULL);
    CloseHandle(file);
    DWORD at = 0;
    for (; done && at < length && text[at] != '\r' && text[at] != '\n'; at++) {
        char c = text[at];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '.' || c == '+' || c == '-'))
            return 0;
        name[at] = (wchar_t)c;
    }
    name[at] = 0;
    return at > 0 && name[0] != L'.';
}

#ifdef VIDCONF_CONSOLE
/* Ctrl-C is for the program, which ends by itself; this one waits for its exit code. */
static BOOL WINAPI left_to_the_program(DWORD kind)
{
    (void)kind;
    return TRUE;
}
#endif

int wmain(void)
{
    static wchar_t folder[ROOM], path[ROOM + 256], line[2 * ROOM];
    wchar_t version[64];
    DWORD length = GetModuleFileNameW(NULL, folder, ROOM);
    wchar_t *last = length && length < ROOM ? wcsrchr(folder, L'\\') : NULL;
    if (last == NULL)
        return failed(L"The program's folder cannot be read", GetLastError());
    wchar_t own[64];
    wcsncpy(own, last + 1, 63);
    own[63] = 0;
    *last = 0;
    _snwprintf(path, ROOM + 255, L"%ls\\current", folder);
    if (!read_current(path, version))
        return failed(L"The file \"current\" names no version", GetLastError());
    _snwprintf(path, ROOM + 255, L"%ls\\versions\\%ls\\%ls", folder, version, own);

    const wchar_t *rest = GetCommandLineW(); /* behind the first word, which is this program */
    if (*rest == L'"') {
        for (rest++; *rest && *rest != L'"'; rest++)
            ;
        if (*rest)
            rest++;
    } else {
        while (*rest && *rest != L' ' && *rest != L'\t')
            rest++;
    }
    if (wcslen(path) + wcslen(rest) + 3 >= ROOM)
        return failed(L"The command line is too long", 0);
    _snwprintf(line, 2 * ROOM - 1, L"\"%ls\"%ls", path, rest);

    STARTUPINFOW start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES};
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    PROCESS_INFORMATION process;
#ifdef VIDCONF_CONSOLE
    SetConsoleCtrlHandler(left_to_the_program, TRUE);
#endif
    if (!CreateProcessW(path, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process))
        return failed(L"The version that \"current\" names cannot be started", GetLastError());
    CloseHandle(process.hThread);
    DWORD code = 0;
#ifdef VIDCONF_CONSOLE
    WaitForSingleObject(process.hProcess, INFINITE);
    if (!GetExitCodeProcess(process.hProcess, &code))
        code = 70;
#else
    AllowSetForegroundWindow(process.dwProcessId);
#endif
    CloseHandle(process.hProcess);
    return (int)code;
}
