// The job page: what the server drew comes alive.

import { JobView } from "./jobview.js";

const root = document.getElementById("job");
new JobView(root).follow(root.dataset.status);
