// Tells a person who looks elsewhere that a job is complete; asks for leave only when its button is pressed.

export class Bell {
  constructor(button, signal) {
    this.button = button;
    this.button.addEventListener("click", () => this.press(), { signal });
  }

  get rings() {
    return this.button.ariaPressed === "true";
  }

  async press() {
    const granted = !this.rings && (await Notification.requestPermission()) === "granted";
    this.button.ariaPressed = String(granted);
    this.button.textContent = granted ? "Notification on" : "Notify me";
    this.button.disabled = Notification.permission === "denied";
  }

  // On plain HTTP there are no notifications, and where they are denied nobody is asked again.
  see(complete, title, counts) {
    if (complete && this.complete === false && this.rings) this.ring(title, counts);
    this.complete = complete;
    const possible = window.isSecureContext && "Notification" in window && Notification.permission !== "denied";
    this.button.hidden = complete || !possible;
  }

  ring(title, body) {
    try {
      const note = new Notification(title, { body, tag: window.location.pathname });
      note.addEventListener("click", () => {
        window.focus();
        note.close();
      });
    } catch {
      // Some phones let only an installed application notify; the page's title says it, too.
    }
  }
}
